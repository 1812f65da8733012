"""FisherSAM: SAM in the ellipsoid of the Fisher information instead of a ball."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import unit


class FisherSAM(SharpnessAware):
    """FisherSAM: ``d = ∇L(w + ε)`` with ``ε = ρ F⁻¹g / √(gᵀF⁻¹g)``, the worst ε with ``εᵀFε ≤ ρ²``.

    F is the diagonal ``1 + η g²`` of the batch. Two gradients a step. Unlike SAM's, ε depends on the units of the
    loss: under loss scaling or with a sum instead of a mean over the batch, η means something else.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0.
        eta: Weight η ≥ 0 of the Fisher information beside the identity; at 0 the rule is SAM's.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Kim, Li, Hu, Hospedales, 2022, arXiv 2206.04920. unverified: the denominator and the defaults are not read
        in the paper. Two public codes divide by ``√(gᵀF⁻¹g)`` and by ``‖F⁻¹g‖``; the first is the maximiser on
        the ellipsoid, and the one here.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.1,
        eta: float = 1.0,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.eta = within("eta", eta, 0.0)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε, with ε written as ``F^{-½} ρ u(F^{-½} g)``."""
        root = gradients.square().mul_(self.eta).add_(1.0).sqrt_()
        scaled = self.perturbed(gradients).div_(root)
        return gradients_at(unit(scaled, times=self.rho, out=scaled).div_(root))
