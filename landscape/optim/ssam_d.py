"""SSAM-D: SAM that displaces a random subset of the coordinates, updated during training."""

import math

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt
from landscape.optim.ssam import SparseSAM
from landscape.optim.vector import number
from landscape.registry.bounds import PositiveInt, Share


class SSAMD(SparseSAM):
    """Sparse SAM by dynamic sparse training: ``ε = m ⊙ ρ g / ‖g‖``, m random and then improved.

    Every ``update_every`` epochs the share ``r (1 + cos(π t / T)) / 2`` of the displaced coordinates, those with the
    smallest |g|, stays from now on, and as many others, drawn at random, take their place. Two gradients a step.

    Args:
        rho, sparsity, update_every, steps_per_epoch: See :class:`~landscape.optim.ssam.SparseSAM`.
        drop_rate: Share r of the mask that is exchanged at first, from 0 to 1.
        total_steps: Steps T ≥ 1 of the run, after which nothing is exchanged; `landscape train` sets it.

    Reference:
        Mi et al., 2022, arXiv 2210.05177. In the authors' code the displaced coordinates can become fewer, where
        more are dropped than stay; here as many are dropped as can be replaced.
    """

    total_steps: PositiveInt
    drop_rate: Share = 0.5

    def next_mask(self, gradients: Tensor, mask: Tensor | None, gradients_at: GradientsAt) -> Tensor:
        """The mask with its flattest coordinates exchanged."""
        chance = self.flat.drawn(self.draws.uniforms, 1, like=gradients.float())[0]
        if mask is None:
            return self.largest(chance, self.live)
        # Fewer than the mask should have where a group was added since.
        present = min(int(number(self.perturbed(mask).count_nonzero())), self.live)
        exchanged = min(int(self.share() * present), self.allowed - self.live)
        kept = self.largest(gradients.abs().masked_fill(mask == 0, -1.0), present - exchanged)
        return kept + self.largest(chance.masked_fill(mask != 0, -1.0), self.live - present + exchanged)

    def share(self) -> float:
        """The share of the mask that is exchanged at this step."""
        done = min(1.0, self.attempts / self.total_steps)
        return self.drop_rate * (1 + math.cos(math.pi * done)) / 2
