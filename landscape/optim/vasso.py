"""VaSSO: SAM along a running average of the gradients."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative, PositiveShare


class VaSSO(SharpnessAware):
    """Variance-suppressed SAM: ``d = ∇L(w + ε)`` with ``a ← (1 − θ) a + θ g`` and ``ε = ρ a / ‖a‖``.

    The first step has ``a = g``. Two gradients a step.

    Args:
        rho: Radius ρ ≥ 0. 0.2 for a WRN-28-10 on CIFAR-100.
        theta: Share θ of the present gradient, above 0 and at most 1; at 1 the rule is SAM's.

    Reference:
        Li, Giannakis, 2023, arXiv 2309.15639; the defaults are those of the authors' script. unverified: the
        paper also reports θ = 0.4.
    """

    is_by_shards = True

    rho: NonNegative = 0.2
    theta: PositiveShare = 0.9

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        earlier = self.remembered("average")
        average = gradients if earlier is None else torch.lerp(earlier, gradients, self.theta)
        self.memory["average"] = average
        return gradients_at.along(self.perturbed(average), self.rho)
