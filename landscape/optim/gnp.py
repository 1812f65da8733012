"""GNP: a penalty on the length of the gradient, by a difference of gradients."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import unit


class GNP(SharpnessAware):
    """Gradient-norm penalty: ``d = (1 − α) g + α g_p``. Two gradients a step.

    ``g_p = ∇L(w + ε)`` with ``ε = ρ g / ‖g‖``. It is the gradient of ``L + λ‖∇L‖`` with ``λ = αρ``, whose
    Hessian-vector product is taken as a finite difference: exactly ``g + λ H g / ‖g‖`` on a quadratic.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0 of the difference, the paper's r. 0.1 on CIFAR, 0.05 on ImageNet.
        alpha: Share α ≥ 0 of the perturbed gradient, ``λ / ρ``; 0 is the base alone, 1 is SAM.
        normalize_clean: Whether ``g / ‖g‖`` takes the place of g in d: what the authors' code does with its
            default configuration, unlike their paper.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Zhao, Zhang, Hu, 2022, arXiv 2202.03599, algorithm 1; the defaults are their recipe for CIFAR.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.1,
        alpha: float = 0.8,
        normalize_clean: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.alpha = within("alpha", alpha, 0.0)
        self.normalize_clean = normalize_clean

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The mean of the two gradients, weighted with 1 − α and α."""
        perturbed = gradients_at(unit(self.perturbed(gradients), times=self.rho))
        clean = unit(gradients, out=gradients) if self.normalize_clean else gradients
        return clean.lerp_(perturbed, self.alpha)
