"""SSAM-F: SAM that displaces the coordinates with the largest Fisher information."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt
from landscape.optim.ssam import SparseSAM
from landscape.registry.bounds import PositiveInt


class SSAMF(SparseSAM):
    """Sparse SAM by Fisher information: ``ε = m ⊙ ρ g / ‖g‖``, m one where ``f = Σᵢ (∇ℓᵢ)²`` is largest.

    f sums over single examples, with their true labels and the network in evaluation mode. The share s of the
    coordinates with the smallest f stays. Two gradients a step, and for each mask ``n_fisher`` of one example. Needs
    a :class:`~landscape.optim.BatchClosure`, which has the examples.

    Args:
        rho, sparsity, update_every, steps_per_epoch: See :class:`~landscape.optim.ssam.SparseSAM`.
        n_fisher: Examples ≥ 1 behind a mask, and no more than the batch has. 16 on CIFAR, 128 on ImageNet.

    Reference:
        Mi et al., 2022, arXiv 2210.05177. The authors draw the examples from the whole data set and leave batch norm
        in training mode; here they are the first of the step's batch. Their first mask is empty until the first
        step is over; here it is not.
    """

    needs_batch = True
    n_fisher: PositiveInt = 16

    def next_mask(self, gradients: Tensor, mask: Tensor | None, gradients_at: GradientsAt) -> Tensor:
        """The coordinates with the largest f."""
        batch = gradients_at.batch
        fisher = torch.zeros_like(gradients)
        count = min(self.n_fisher, len(batch))
        self.same_in_all(count, "examples for its mask")
        with batch.evaluation_mode():
            for row in range(count):
                fisher += gradients_at(closure=batch.part(slice(row, row + 1))).square_()
        return self.largest(fisher, self.live)
