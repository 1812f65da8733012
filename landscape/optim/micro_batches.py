"""A closure that accumulates the gradients of a batch over pieces of it, to save memory."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.batch_closure import BatchClosure, Evaluation, Losses, Rows, Term, rows_of
from landscape.optim.division import taking_part


class MicroBatches(BatchClosure):
    """The closure of a batch that is too large for memory: each pass adds up the gradients of its pieces.

    Every pass is one of the whole batch, so that a displacement is too: the full-batch reading of gradient
    accumulation. The other one, a displacement for each piece, is :class:`~landscape.optim.SlicedSAM`. Batch norm
    sees pieces.

    Args:
        model, loss, options: The arguments of :class:`BatchClosure`.
        size: Examples a piece; the last may be smaller.
    """

    def __init__(self, model: nn.Module, loss: Losses, *, size: int, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self.size = size

    def __call__(self) -> Tensor:
        """Clear the gradients, and run each piece forward and backward; the mean loss."""
        self.model.zero_grad()
        if self.division is not None:
            return self._pass_of_all(self.division)
        is_first = self.last is None
        self.last = self._part_of_pass()
        if is_first:
            self._note(self.last.outputs)
        return self.last.loss

    def plus(self, term: Term) -> BatchClosure:
        """Not possible, because the term is one of all outputs at once; raises :class:`UsageError`."""
        raise UsageError(
            "this optimizer adds a term of the whole batch to the loss, which cannot be accumulated over "
            "micro-batches; use accumulate=1 and a smaller batch_size"
        )

    def _part_of_pass(self) -> Evaluation:
        pieces = []
        for evaluation, counts in self._pieces():
            loss = evaluation.losses.sum() / len(self)
            self.backward(loss if counts else loss * 0)
            pieces.append((evaluation.detached(), counts))  # frees the graph of the piece
        return _joined(pieces)

    def _own_evaluation(self) -> Evaluation:
        return _joined(list(self._pieces()))

    def _pieces(self) -> Iterator[tuple[Evaluation, bool]]:
        """The pieces, and whether each counts; under a division, the examples of this process in each."""
        for start in range(0, len(self), self.size):
            rows: Rows = slice(start, start + self.size)
            if self.division is None:
                yield self._evaluated(rows_of(self.inputs, rows), self.targets[rows]), True
                continue
            division, rows = self.division.part(rows)
            with taking_part(division) as takes_part:
                if takes_part:
                    rows = rows.new_zeros(1) if division.is_idle else rows
                    yield (
                        self._evaluated(rows_of(self.inputs, rows), self.targets[rows]),
                        not division.is_idle,
                    )


def _joined(pieces: list[tuple[Evaluation, bool]]) -> Evaluation:
    """The pieces that count; where none does, they stand for themselves."""
    kept = [piece for piece, counts in pieces if counts] or [piece for piece, _ in pieces]
    return Evaluation(torch.cat([p.outputs for p in kept]), torch.cat([p.losses for p in kept]))
