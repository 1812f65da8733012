"""When a step looks around: what a variant that saves gradients decides before it asks for a second one.

A policy goes with any rule. SS-SAM is the coin of :class:`~landscape.optim.ss_sam.Bernoulli` before SAM; the same
coin before GSAM is::

    optimizer = GSAM(base, model=model, alpha=0.4)
    optimizer.policy = Bernoulli(0.5)
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

Memory = dict[str, Tensor | float | int | bool]


class Policy(ABC):
    """Decides, from what one gradient shows, whether a step takes more. It holds settings only, no state."""

    @abstractmethod
    def looks_around(
        self, gradients: Tensor, memory: Memory, *, step: int, generator: torch.Generator
    ) -> bool:
        """Whether this step is a sharpness-aware one; asked once a step, after pass 1.

        Args:
            gradients: g of pass 1, shape ``(n,)``, finite, zero in groups that are not perturbed. Not to be
                written to.
            memory: The optimizer's, for what the policy keeps across steps.
            step: The number of this step, from 0; a skipped step does not count.
            generator: The optimizer's private generator.
        """
