"""N-step SAM: the worst point nearby is approached in several steps of ascent instead of one."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import whole, within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import unit


class NStepSAM(SharpnessAware):
    """N-step SAM: ``d = ∇L(w + ε_N)`` with ``ε_{i+1} = Π(ε_i + s u(∇L(w + ε_i)))`` and ``ε₀ = 0``.

    u(x) is x / ‖x‖ and Π projects onto the ball ``‖ε‖ ≤ ρ``. One gradient more than steps of ascent. Where groups
    have radii of their own, the ball is ``‖ε / ρ‖ ≤ 1``.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0.
        ascent_steps: How many steps N ≥ 1; with one step the rule is SAM's.
        stride: Length of a step as a share of the radius, ``s = stride ρ``, above 0. 1 in the public codes;
            ``1 / ascent_steps`` for a path that ends at the boundary.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Foret et al., 2021, arXiv 2010.01412, and Andriushchenko, Flammarion, 2022, arXiv 2206.06232, who study
        SAM with several steps. Optax's ``sync_period`` takes the same steps without the projection.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.05,
        ascent_steps: int = 2,
        stride: float = 1.0,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.ascent_steps = whole("ascent_steps", ascent_steps, 1)
        self.stride = within("stride", stride, 0.0, open_low=True)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at the end of the ascent, which runs in the unit ball of ε / ρ."""
        place = torch.zeros_like(gradients)
        for _ in range(self.ascent_steps):
            place = place + unit(self.perturbed(gradients), times=self.stride)
            place = place / torch.linalg.vector_norm(place).clamp(min=1.0)
            gradients = gradients_at(place * self.rho)
        return gradients
