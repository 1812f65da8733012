"""SSAM-D: sparse SAM that starts from random coordinates and exchanges the flattest ones on the way."""

import math

import torch
from torch import Tensor, nn

from landscape.optim.bounds import whole, within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.ssam import SparseSAM


class SSAMD(SparseSAM):
    """Sparse SAM by dynamic sparse training: ``ε = m ⊙ ρ g / ‖g‖``, m random and then improved.

    Every ``update_every`` epochs the share ``r (1 + cos(π t / T)) / 2`` of the displaced coordinates, those with the
    smallest |g|, stays from now on, and as many others, drawn at random, take their place. Two gradients a step.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0. 0.1 for a ResNet-18 on CIFAR-10, 0.2 for a WRN on CIFAR-100.
        sparsity: Share s of the coordinates that stay, from 0 (SAM) to 1 (no displacement).
        update_every: Epochs ≥ 1 from one mask to the next; 1 in the authors' commands.
        steps_per_epoch: Steps ≥ 1 in an epoch; `landscape train` knows it.
        drop_rate: Share r of the mask that is exchanged at first, from 0 to 1.
        total_steps: Steps T ≥ 1 of the run, after which nothing is exchanged; `landscape train` knows it.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Mi et al., 2022, arXiv 2210.05177. In the authors' code the displaced coordinates can become fewer, where
        more are dropped than stay; here as many are dropped as can be replaced.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        steps_per_epoch: int,
        total_steps: int,
        model: nn.Module | None = None,
        rho: float = 0.1,
        sparsity: float = 0.5,
        update_every: int = 1,
        drop_rate: float = 0.5,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(
            base,
            model=model,
            rho=rho,
            sparsity=sparsity,
            update_every=update_every,
            steps_per_epoch=steps_per_epoch,
            max_grad_norm=max_grad_norm,
        )
        self.drop_rate = within("drop_rate", drop_rate, 0.0, 1.0)
        self.total_steps = whole("total_steps", total_steps, 1)

    def next_mask(self, gradients: Tensor, mask: Tensor | None, gradients_at: GradientsAt) -> Tensor:
        """The mask with its flattest coordinates exchanged."""
        chance = torch.rand(self.flat.dimension, generator=self.generator).to(gradients.device)
        if mask is None:
            return self.largest(chance, self.live)
        # Fewer than wanted where a group was added since.
        present = min(int(self.perturbed(mask).count_nonzero()), self.live)
        exchanged = min(int(self.share() * present), self.allowed - self.live)
        kept = self.largest(gradients.abs().masked_fill(mask == 0, -1.0), present - exchanged)
        return kept + self.largest(chance.masked_fill(mask != 0, -1.0), self.live - present + exchanged)

    def share(self) -> float:
        """The share of the mask that is exchanged at this step."""
        done = min(1.0, self.steps / self.total_steps)
        return self.drop_rate * (1 + math.cos(math.pi * done)) / 2
