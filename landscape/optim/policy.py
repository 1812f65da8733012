"""Policies: whether a step evaluates more than one gradient, decided after the first.

A policy goes with any rule. SS-SAM is :class:`~landscape.optim.ss_sam.Bernoulli` before SAM; the same before
GSAM is::

    optimizer = GSAM(base, model=model, alpha=0.4)
    optimizer.policy = Bernoulli(0.5)
"""

import dataclasses
from abc import ABC, abstractmethod

from torch import Tensor

from landscape.draws import Draws
from landscape.registry.bounds import limit_of

Memory = dict[str, Tensor | float | int | bool]


class Policy(ABC):
    """Decides, from one gradient, whether a step takes more. It holds settings only, no state."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # those with settings are dataclasses
            limit = limit_of(field.type)
            if limit is not None:
                limit.check(field.name, getattr(self, field.name))

    @abstractmethod
    def looks_around(self, gradients: Tensor, memory: Memory, *, step: int, draws: Draws) -> bool:
        """Whether this step is a sharpness-aware one; called once a step, after pass 1.

        Args:
            gradients: g of pass 1, shape ``(n,)``, finite, zero in groups that are not perturbed. Not to be
                written to.
            memory: The optimizer's, for what the policy keeps across steps.
            step: The number of this step, from 0. Skipped steps count too, as only the device may know of them.
            draws: The random numbers of this step.
        """
