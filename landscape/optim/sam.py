"""SAM: the gradient at the worst point nearby."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative


class SAM(SharpnessAware):
    """Sharpness-aware minimisation: ``d = ∇L(w + ε)`` with ``ε = ρ g / ‖g‖``. Two gradients a step.

    Args:
        rho: Radius ρ ≥ 0, absolute. 0.05 on CIFAR-10, 0.1 on CIFAR-100.

    Reference:
        Foret, Kleiner, Mobahi, Neyshabur, 2021, arXiv 2010.01412, algorithm 1. The authors' code has weight
        decay inside the loss of both passes; here it belongs to the base, and ε is that of the bare gradient.
        A zero gradient gives ε = 0 where the paper divides by zero.
    """

    is_by_shards = True

    rho: NonNegative = 0.05

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        return gradients_at.along(self.perturbed(gradients), self.rho)
