"""Gradient accumulation that every sharpness-aware optimizer can take: a pass goes over the batch in pieces."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.batch_closure import BatchClosure, Evaluation, Losses, Term
from landscape.optim.inputs import chosen


class MicroBatches(BatchClosure):
    """The closure of a batch that is too large for memory: each pass adds up the gradients of its pieces.

    Every pass is one of the whole batch, so that a displacement is too: the full-batch reading of gradient
    accumulation. The other one, a displacement for each piece, is :class:`~landscape.optim.SlicedSAM`. Batch norm
    sees pieces.

    Args:
        model: As for :class:`BatchClosure`.
        loss: As for :class:`BatchClosure`.
        size: Examples a piece; the last may be smaller.
        options: What else :class:`BatchClosure` takes.
    """

    def __init__(self, model: nn.Module, loss: Losses, *, size: int, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self.size = size

    def __call__(self) -> Tensor:
        """Clear the gradients, and run each piece forward and backward; the mean loss."""
        self.model.zero_grad()
        is_first = self.last is None
        pieces = []
        for evaluation in self._pieces():
            self.backward(evaluation.losses.sum() / len(self))
            pieces.append(Evaluation(evaluation.outputs.detach(), evaluation.losses.detach()))
        whole = _joined(pieces)
        if is_first:
            self._note(whole.outputs)
        self.last = whole
        return whole.loss

    def evaluate(self) -> Evaluation:
        """A forward pass, piece by piece."""
        whole = _joined(list(self._pieces()))
        self.last = Evaluation(whole.outputs.detach(), whole.losses.detach())
        return whole

    def plus(self, term: Term) -> BatchClosure:
        """Not possible: the term is one of all outputs at once.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "this optimizer adds a term of the whole batch to the loss, which cannot be accumulated over "
            "micro-batches; use accumulate=1 and a smaller batch_size"
        )

    def _pieces(self) -> Iterator[Evaluation]:
        for start in range(0, len(self), self.size):
            rows = slice(start, start + self.size)
            yield self._evaluated(chosen(self.inputs, rows), self.targets[rows])

    def _made(self, **options: Any) -> BatchClosure:
        return MicroBatches(self.model, self._loss, size=self.size, **options)


def _joined(pieces: list[Evaluation]) -> Evaluation:
    return Evaluation(torch.cat([p.outputs for p in pieces]), torch.cat([p.losses for p in pieces]))
