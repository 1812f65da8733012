"""SSAM-F: sparse SAM that displaces the coordinates with the largest Fisher information."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import whole
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.ssam import SparseSAM


class SSAMF(SparseSAM):
    """Sparse SAM by Fisher information: ``ε = m ⊙ ρ g / ‖g‖``, m one where ``f = Σᵢ (∇ℓᵢ)²`` is largest.

    f sums over single examples, with their true labels and the network in evaluation mode. The share s of the
    coordinates with the smallest f stays. Two gradients a step, and for each mask ``n_fisher`` of one example. Needs
    a :class:`~landscape.optim.BatchClosure`, which has the examples.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0. 0.1 for a ResNet-18 on CIFAR-10, 0.2 for a WRN on CIFAR-100.
        sparsity: Share s of the coordinates that stay, from 0 (SAM) to 1 (no displacement).
        update_every: Epochs ≥ 1 from one mask to the next; 1 in the authors' commands.
        steps_per_epoch: Steps ≥ 1 in an epoch; `landscape train` knows it.
        n_fisher: Examples ≥ 1 behind a mask, and no more than the batch has. 16 on CIFAR, 128 on ImageNet.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Mi et al., 2022, arXiv 2210.05177. The authors draw the examples from the whole data set and leave batch norm
        in training mode; here they are the first of the step's batch. Their first mask is empty until the first
        step is over; here it is not.
    """

    needs_batch = True

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        steps_per_epoch: int,
        model: nn.Module | None = None,
        rho: float = 0.1,
        sparsity: float = 0.5,
        update_every: int = 1,
        n_fisher: int = 16,
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
        self.n_fisher = whole("n_fisher", n_fisher, 1)

    def next_mask(self, gradients: Tensor, mask: Tensor | None, gradients_at: GradientsAt) -> Tensor:
        """The coordinates with the largest f."""
        batch = gradients_at.batch
        fisher = torch.zeros_like(gradients)
        with batch.evaluation_mode():
            for row in range(min(self.n_fisher, len(batch))):
                fisher += gradients_at(closure=batch.part(slice(row, row + 1))).square_()
        return self.largest(fisher, self.live)
