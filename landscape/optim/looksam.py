"""LookSAM: SAM every k steps; what it adds to the gradient is used again in between."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import whole, within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.policy import Memory, Policy
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import length, orthogonal, significant, unit


class Every(Policy):
    """Every k-th step looks around, the first one among them.

    Args:
        k: The period k ≥ 1.
    """

    def __init__(self, k: int) -> None:
        self.k = whole("k", k, 1)

    def looks_around(
        self, gradients: Tensor, memory: Memory, *, step: int, generator: torch.Generator
    ) -> bool:
        """Whether k divides the number of the step."""
        return step % self.k == 0


class LookSAM(SharpnessAware):
    """SAM at every k-th step, ``d = g + α ‖g‖ g_v / ‖g_v‖`` in between. 1 + 1/k gradients a step.

    ``g_v`` is the part of the last SAM gradient ``∇L(w + ε)``, ``ε = ρ g / ‖g‖``, that was orthogonal to the
    g of its step, over all parameters together; only its direction is kept. It changes slowly, unlike g.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0.
        k: Steps from one SAM step to the next, k ≥ 1; 1 is SAM. 5 in the paper, 10 in re-implementations.
        alpha: Length α ≥ 0 of what is used again, relative to g.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Liu, Mai, Chen, Hsieh, You, 2022, arXiv 2203.02714, algorithm 1. unverified: that α = 0.7 is the
        paper's; re-implementations have it. ``g_v`` counts as zero where it is only rounding.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.05,
        k: int = 5,
        alpha: float = 0.7,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.policy = Every(k)
        self.alpha = within("alpha", alpha, 0.0)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε; the direction of its part orthogonal to g is remembered."""
        perturbed = gradients_at(unit(self.perturbed(gradients), times=self.rho))
        added = significant(orthogonal(perturbed, to=gradients), of=perturbed)
        self.memory["added"] = unit(added, out=added)
        return perturbed

    def direction_between(self, gradients: Tensor) -> Tensor:
        """The gradient and what was last remembered; before the first SAM step, the gradient alone."""
        added = self.memory.get("added")
        if not isinstance(added, Tensor):
            return gradients
        return gradients.add_(added * (self.alpha * length(gradients)))
