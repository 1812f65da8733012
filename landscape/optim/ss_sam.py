"""SS-SAM: a coin decides whether a step is SAM's or the base's."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import within
from landscape.optim.policy import Memory, Policy
from landscape.optim.sam import SAM


class Bernoulli(Policy):
    """A step looks around with probability p, drawn from the optimizer's own generator.

    Args:
        p: The probability, from 0 to 1.
    """

    def __init__(self, p: float) -> None:
        self.p = within("p", p, 0.0, 1.0)

    def looks_around(
        self, gradients: Tensor, memory: Memory, *, step: int, generator: torch.Generator
    ) -> bool:
        """A draw."""
        return float(torch.rand((), generator=generator)) < self.p


class SSSAM(SAM):
    """Stochastic scheduled SAM: ``d = ∇L(w + ρ g / ‖g‖)`` with probability p, else g. 1 + p gradients a step.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0, as for SAM.
        p: Probability of a SAM step, from 0 to 1, the same at every step; 1 is SAM, 0 is the base alone.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Zhao, Zhang, Hu, 2022, arXiv 2203.09962. They also let p change with time; ``policy`` can be replaced.
        unverified: p = 0.5 is theirs as other papers report it. The draws come from a generator that starts
        alike in all processes, so that replicas take the same branch.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.05,
        p: float = 0.5,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.policy = Bernoulli(p)
