"""Fisher-SAM: SAM in the ellipsoid of the Fisher information instead of a ball."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative


class FisherSAM(SharpnessAware):
    """FisherSAM: ``d = ∇L(w + ε)`` with ``ε = ρ F⁻¹g / √(gᵀF⁻¹g)``, the worst ε with ``εᵀFε ≤ ρ²``.

    F is the diagonal ``1 + η g²`` of the batch. Two gradients a step. Unlike SAM's, ε depends on the units of the
    loss: under loss scaling or with a sum instead of a mean over the batch, η means something else.

    Args:
        eta: Weight η ≥ 0 of the Fisher information beside the identity; at 0 the rule is SAM's.

    Reference:
        Kim, Li, Hu, Hospedales, 2022, arXiv 2206.04920. unverified: the denominator and the defaults are not read
        in the paper. Two public codes divide by ``√(gᵀF⁻¹g)`` and by ``‖F⁻¹g‖``; the first is the maximiser on
        the ellipsoid, and the one here.
    """

    is_by_shards = True

    rho: NonNegative = 0.1
    eta: NonNegative = 1.0

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε, with ε written as ``F^{-½} ρ u(F^{-½} g)``."""
        root = gradients.square().mul_(self.eta).add_(1.0).sqrt_()
        scaled = self.perturbed(gradients).div_(root)
        return gradients_at(unit(scaled, times=self.rho, out=scaled).div_(root))
