"""LookSAM: SAM every k steps, its ascent reused in between."""

from dataclasses import dataclass

from torch import Tensor

from landscape.draws import Draws
from landscape.optim.policy import Memory, Policy
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length, orthogonal, significant, unit
from landscape.registry.bounds import NonNegative, PositiveInt


@dataclass(eq=False)
class Every(Policy):
    """Every k-th step looks around, beginning with the first.

    Args:
        k: The period k ≥ 1.
    """

    k: PositiveInt

    def looks_around(self, gradients: Tensor, memory: Memory, *, step: int, draws: Draws) -> bool:
        """Whether k divides the number of the step."""
        return step % self.k == 0


class Renewing(Every):
    """Every k-th step, and those before the first that was not skipped."""

    def looks_around(self, gradients: Tensor, memory: Memory, *, step: int, draws: Draws) -> bool:
        """Whether k divides the number of the step, or nothing is kept yet."""
        return "added" not in memory or super().looks_around(gradients, memory, step=step, draws=draws)


class LookSAM(SharpnessAware):
    """SAM at every k-th step, ``d = g + α ‖g‖ g_v / ‖g_v‖`` in between. 1 + 1/k gradients a step.

    ``g_v`` is the part of the last SAM gradient ``∇L(w + ε)``, ``ε = ρ g / ‖g‖``, that was orthogonal to the
    g of its step, over all parameters together; only its direction is kept. It changes slowly, unlike g.

    Args:
        k: Steps from one SAM step to the next, k ≥ 1; 1 is SAM. 5 in the paper, 10 in re-implementations.
        alpha: Length α ≥ 0 of the reused part, relative to g.

    Reference:
        Liu, Mai, Chen, Hsieh, You, 2022, arXiv 2203.02714, algorithm 1. unverified: that α = 0.7 is the
        paper's; re-implementations have it. ``g_v`` counts as zero where it is only rounding.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    k: PositiveInt = 5
    alpha: NonNegative = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        self.policy = Renewing(self.k)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε; the direction of its part orthogonal to g is kept."""
        perturbed = gradients_at.along(self.perturbed(gradients), self.rho)
        added = significant(orthogonal(perturbed, to=gradients), of=perturbed)
        self.memory["added"] = unit(added, out=added)  # its length is that of another step
        return perturbed

    def direction_between(self, gradients: Tensor) -> Tensor:
        """The gradient and the part that was kept last; before the first SAM step, the gradient alone."""
        added = self.remembered("added")
        return gradients if added is None else gradients.addcmul_(added, self.alpha * length(gradients))
