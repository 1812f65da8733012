"""F-SAM: SAM along the part of the gradient that is particular to the batch."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length
from landscape.registry.bounds import NonNegative, Share

_ROUNDING = 1e-6  # of float32, with a margin for sums over many coordinates


class FriendlySAM(SharpnessAware):
    """Friendly-SAM: ``d = ∇L(w + ε)`` with ``ε = ρ a / ‖a‖``, ``a = g − σ m``, then ``m ← λ m + (1 − λ) g``.

    The running average m stands for the gradient of the whole data. The first step sets ``m = g`` and is that of
    SAM. Two gradients a step.

    Args:
        rho: Radius ρ ≥ 0. 0.2 for a ResNet-18 on CIFAR-100.
        sigma: Share σ ≥ 0 of the average that is subtracted; at 0 the rule is SAM's.
        lam: Decay λ of the average, from 0 to 1; the authors' code has 0.6, 0.9 and 0.95.

    Reference:
        Li et al., 2024, arXiv 2403.12350, in the order of the authors' code, where m is subtracted before it is
        updated; with ``σ = 1`` either order has the same ε. Where g and m agree to rounding, as with the full
        batch, a is noise: there ε shrinks to zero, because ‖a‖ counts for no less than ``1e-6 ‖g‖``.
    """

    is_by_shards = True

    rho: NonNegative = 0.2
    sigma: NonNegative = 1.0
    lam: Share = 0.6

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        average = self.remembered("average")
        if average is None:
            ascent = gradients
            self.memory["average"] = gradients.clone()
        else:
            ascent = gradients.sub(average, alpha=self.sigma)
            self.memory["average"] = torch.lerp(gradients, average, self.lam)
        ascent = self.perturbed(ascent)
        floor = _ROUNDING * length(self.perturbed(gradients))
        # As `unit`, which has no floor.
        return gradients_at(ascent * (self.rho / (torch.maximum(length(ascent), floor) + 1e-12)))
