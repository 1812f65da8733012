"""GNP: a penalty on the length of the gradient, by a difference of gradients."""

from typing import Annotated

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative, OneOf


class GNP(SharpnessAware):
    """Gradient-norm penalty: ``d = (1 − α) g + α g_p``. Two gradients a step.

    ``g_p = ∇L(w + ε)`` with ``ε = ρ g / ‖g‖``. It is the gradient of ``L + λ‖∇L‖`` with ``λ = αρ``, whose
    Hessian-vector product is a finite difference: exactly ``g + λ H g / ‖g‖`` on a quadratic.

    Args:
        rho: Radius ρ ≥ 0 of the difference, the paper's r. 0.1 on CIFAR, 0.05 on ImageNet.
        alpha: Share α ≥ 0 of the perturbed gradient, ``λ / ρ``; 0 is the base alone, 1 is SAM.
        normalize_clean: Whether ``g / ‖g‖`` takes the place of g in d: as the authors' code does by
            default, unlike their paper.

    Reference:
        Zhao, Zhang, Hu, 2022, arXiv 2202.03599, algorithm 1; the defaults are their recipe for CIFAR.
    """

    is_by_shards = True

    rho: NonNegative = 0.1
    alpha: NonNegative = 0.8
    normalize_clean: Annotated[bool, OneOf((False, True))] = False

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The mean of the two gradients, weighted with 1 − α and α."""
        perturbed = gradients_at.along(self.perturbed(gradients), self.rho)
        clean = unit(gradients, out=gradients) if self.normalize_clean else gradients
        return clean.lerp_(perturbed, self.alpha)
