"""Sparse SAM: SAM that displaces a subset of the coordinates; the base class of SSAM-F and SSAM-D."""

from abc import abstractmethod

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative, PositiveInt, Share


class SparseSAM(SharpnessAware):
    """Sparse SAM: ``d = ∇L(w + ε)`` with ``ε = m ⊙ ρ g / ‖g‖`` for a mask m of ``⌊(1 − s) n⌋`` ones.

    The norm is that of the whole gradient, so ``‖ε‖ ≤ ρ``. A rule chooses the mask before the first step and anew
    every ``update_every`` epochs.

    Args:
        rho: Radius ρ ≥ 0. 0.1 for a ResNet-18 on CIFAR-10, 0.2 for a WRN on CIFAR-100.
        sparsity: Share s of the coordinates that stay, from 0 (SAM) to 1 (no displacement).
        update_every: Epochs ≥ 1 from one mask to the next; 1 in the authors' commands.
        steps_per_epoch: Steps ≥ 1 in an epoch; ``landscape train`` sets it.
    """

    steps_per_epoch: PositiveInt
    rho: NonNegative = 0.1
    sparsity: Share = 0.5
    update_every: PositiveInt = 1

    @abstractmethod
    def next_mask(self, gradients: Tensor, mask: Tensor | None, gradients_at: GradientsAt) -> Tensor:
        """The mask ``(n,)`` of ones and zeros of the coming steps, from the present one; ``None`` in the first step."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        gradients = self.perturbed(gradients)
        mask = self.remembered("mask")
        if mask is None or self.attempts % (self.update_every * self.steps_per_epoch) == 0:
            mask = self.memory["mask"] = self.next_mask(gradients, mask, gradients_at)
        return gradients_at(unit(gradients, times=self.rho, out=gradients).mul_(mask))

    def largest(self, scores: Tensor, count: int) -> Tensor:
        """The mask of the ``count`` largest scores ``(n,)`` among the coordinates that may be perturbed."""
        allowed = scores.masked_fill(self.perturbed(torch.ones_like(scores)) == 0, -torch.inf)
        return torch.zeros_like(self.weights).index_fill_(0, allowed.topk(count).indices, 1.0)

    @property
    def allowed(self) -> int:
        """How many coordinates may be perturbed."""
        slices = zip(self.param_groups, self.flat.group_slices, strict=True)
        return sum(part.stop - part.start for group, part in slices if group.get("perturb", True))

    @property
    def live(self) -> int:
        """How many coordinates a mask displaces."""
        return int((1 - self.sparsity) * self.allowed + 1e-9)  # 1 − 0.9 is a little less than 0.1
