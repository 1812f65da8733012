"""SAM: the gradient at the worst point nearby."""

import torch
from torch import Tensor, nn

from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import unit


class SAM(SharpnessAware):
    """Sharpness-aware minimisation: ``d = ∇L(w + ε)`` with ``ε = ρ g / ‖g‖``. Two gradients a step.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0, absolute. 0.05 on CIFAR-10, 0.1 on CIFAR-100.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Foret, Kleiner, Mobahi, Neyshabur, 2021, arXiv 2010.01412, algorithm 1. The authors' code has weight
        decay inside the loss of both passes; here it belongs to the base, and ε is that of the bare gradient.
        A zero gradient gives ε = 0 where the paper divides by zero.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.05,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε. The memory of g, which is not needed again, is that of ε."""
        return gradients_at(unit(self.perturbed(gradients), times=self.rho, out=gradients))
