"""SS-SAM: SAM in a random share of the steps, the base in the others."""

from dataclasses import dataclass

from torch import Tensor

from landscape.draws import Draws
from landscape.optim.policy import Memory, Policy
from landscape.optim.sam import SAM
from landscape.registry.bounds import Share


@dataclass(eq=False)
class Bernoulli(Policy):
    """A step looks around with probability p, drawn from the optimizer's own random numbers.

    Args:
        p: The probability, from 0 to 1.
    """

    p: Share

    def looks_around(self, gradients: Tensor, memory: Memory, *, step: int, draws: Draws) -> bool:
        """A draw."""
        return draws.chance(0) < self.p


class SSSAM(SAM):
    """Stochastic scheduled SAM: ``d = ∇L(w + ρ g / ‖g‖)`` with probability p, else g. 1 + p gradients a step.

    Args:
        p: Probability of a SAM step, from 0 to 1, the same at every step; 1 is SAM, 0 is the base alone.

    Reference:
        Zhao, Zhang, Hu, 2022, arXiv 2203.09962. They also let p change with time; ``policy`` can be replaced.
        unverified: p = 0.5 is theirs as other papers report it. The draws come from a generator that starts
        alike in all processes, so that replicas take the same branch.
    """

    is_by_shards = True

    p: Share = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.policy = Bernoulli(self.p)
