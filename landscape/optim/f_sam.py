"""Friendly-SAM: the displacement follows what is particular to the batch, and not the common gradient."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import length

_ROUNDING = 1e-6


class FriendlySAM(SharpnessAware):
    """Friendly-SAM: ``d = ∇L(w + ε)`` with ``ε = ρ a / ‖a‖``, ``a = g − σ m``, then ``m ← λ m + (1 − λ) g``.

    The running average m stands for the gradient of the whole data. The first step sets ``m = g`` and is that of
    SAM. Two gradients a step.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0. 0.2 for a ResNet-18 on CIFAR-100.
        sigma: Share σ ≥ 0 of the average that is taken away; at 0 the rule is SAM's.
        lam: Decay λ of the average, from 0 to 1; the authors' code has 0.6, 0.9 and 0.95.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Li et al., 2024, arXiv 2403.12350, in the order of the authors' code, where m is subtracted before it is
        updated; with ``σ = 1`` either order has the same ε. Where g and m agree to rounding, as with the full
        batch, a is noise: there ε shrinks to zero, because ‖a‖ counts for no less than ``1e-6 ‖g‖``.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.2,
        sigma: float = 1.0,
        lam: float = 0.6,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.sigma = within("sigma", sigma, 0.0)
        self.lam = within("lam", lam, 0.0, 1.0)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        average = self.memory.get("average")
        if isinstance(average, Tensor):
            ascent = gradients.sub(average, alpha=self.sigma)
            self.memory["average"] = torch.lerp(gradients, average, self.lam)
        else:
            ascent = gradients
            self.memory["average"] = gradients.clone()
        ascent = self.perturbed(ascent)
        floor = _ROUNDING * length(self.perturbed(gradients))
        return gradients_at(ascent * (self.rho / (torch.maximum(length(ascent), floor) + 1e-12)))
