"""m-SAM: SAM with a displacement of its own for each slice of the batch."""

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.sharpness_aware import Closure, GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative, PositiveInt


class SlicedSAM(SharpnessAware):
    """m-SAM: ``d = Σ_s (|s|/B) ∇L_s(w + ε_s)``, ``ε_s = ρ ∇L_s(w) / ‖∇L_s(w)‖``. Two gradients a step.

    The batch is cut into slices s of m examples, in order; the last may be smaller. Each gets the SAM gradient
    of its own loss from the same w, and the step is that of their mean over the examples. It is what SAM does
    on several machines, and what accumulating SAM's gradients over small batches does. Batch norm sees slices.

    Args:
        m: Examples a slice, at least 1; ``None`` for the whole batch, which is SAM. The smaller ones, 16 to
            64, generalise better in the papers. Needs a :class:`~landscape.optim.BatchClosure`.

    Reference:
        Foret, Kleiner, Mobahi, Neyshabur, 2021, arXiv 2010.01412, section 4.1; Andriushchenko, Flammarion,
        2022, arXiv 2206.06232.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    m: PositiveInt | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_batch = self.m is not None
        self._shares: list[float] = [1]

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """The first slice."""
        if self.m is not None:
            self.same_in_all(-(-len(gradients_at.batch) // self.m), "slices")
        if self.m is None or self.m >= len(gradients_at.batch):
            self._slices: list[BatchClosure] = []
            self._shares = [1]
            return None
        if self.policy is not None:
            raise UsageError(
                "a policy decides from the gradient of the whole batch; use m-SAM with m=None for one"
            )
        batch = gradients_at.batch
        self._slices = [batch.part(slice(start, start + self.m)) for start in range(0, len(batch), self.m)]
        self._shares = [part.share for part in self._slices]
        return self._slices[0]

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The mean of the slices' SAM gradients. The first slice's gradient comes from pass 1."""
        slices, self._slices = self._slices, []
        if not slices:
            return gradients_at.along(self.perturbed(gradients), self.rho)
        total = torch.zeros_like(gradients)
        for part in slices:
            own = gradients if part is slices[0] else gradients_at(closure=part, first=True)
            displacement = unit(self.perturbed(own), times=self.rho)
            total.add_(gradients_at(displacement, closure=part), alpha=part.share)
        return total

    def loss(self) -> Tensor:
        """L(w): the mean over the slices that were evaluated at w."""
        here = self.losses[::2]
        if len(here) == 1:
            return here[0]
        shares = self._shares[: len(here)]
        return torch.stack(
            [loss * (share / sum(shares)) for loss, share in zip(here, shares, strict=True)]
        ).sum()
