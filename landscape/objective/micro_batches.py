"""The pieces in which data go through the network: a matter of speed and memory that changes no number.

A batch is what the user's loader yields, and what measures of single batches are about. A micro-batch is what is
computed at once: a part of a batch where memory is short, several batches where larger pieces are quicker.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from landscape.errors import UsageError
from landscape.objective.batch import Batch, form_of, joined, rows_in, rows_of

Size = int | Literal["auto"] | None
Amounts = Callable[[tuple[int, int], Batch], tuple[int, float]]


@dataclass(frozen=True)
class Piece:
    """Examples that are computed together."""

    batch: Batch
    start: int  # the number of the first row
    batch_start: int  # the number of the first row of the batch that it is a part of, or that it begins with
    size: int  # the number of rows, or of examples for a batch that is not made of rows
    examples: int
    weight: float  # what the mean of the batch is divided by

    @classmethod
    def of(
        cls, batch: Batch, start: int, size: int, amounts: Amounts, *, batch_start: int | None = None
    ) -> "Piece":
        """The piece of these rows."""
        begin = start if batch_start is None else batch_start
        return cls(batch, start, begin, size, *amounts((start, size), batch))


@dataclass
class MicroBatches:
    """How many examples are computed at once.

    Attributes:
        size: The most; ``None`` for whole batches, ``"auto"`` until the quickest size has been measured.
        obstacle: Why batches cannot be split or joined; empty if they can, ``None`` if it is not known yet.
    """

    size: Size = None
    obstacle: str | None = None

    @property
    def limit(self) -> int | None:
        """The size if it is a number and batches can be split and joined."""
        return self.size if isinstance(self.size, int) and self.obstacle == "" else None

    def pieces(
        self,
        batches: Iterable[tuple[int, Batch]],
        amounts: Amounts,
        *,
        first_row: int = 0,
        join: bool = True,
    ) -> Iterator[Piece]:
        """The batches (of given sizes), joined up to the limit if that is allowed; a larger batch is not split."""
        room = self.limit if join else None
        start, count, waiting = first_row, 0, list[Batch]()
        for size, batch in batches:
            rows = rows_in(batch) or size
            if waiting and (room is None or count + rows > room or form_of(waiting[-1]) != form_of(batch)):
                yield Piece.of(joined(waiting), start, count, amounts)
                start, count, waiting = start + count, 0, []
            waiting.append(batch)
            count += rows
        if waiting:
            yield Piece.of(joined(waiting), start, count, amounts)

    def split(self, piece: Piece, amounts: Amounts) -> list[Piece]:
        """The piece in parts of nearly equal size, none above the limit."""
        if self.limit is None or piece.size <= self.limit:
            return [piece]
        count = -(-piece.size // self.limit)
        edges = [piece.size * k // count for k in range(count + 1)]
        return [
            Piece.of(
                rows_of(piece.batch, slice(first, last)),
                piece.start + first,
                last - first,
                amounts,
                batch_start=piece.batch_start,
            )
            for first, last in itertools.pairwise(edges)
        ]


def allowed_size(size: Size) -> Size:
    """The size, checked."""
    if size is None or size == "auto" or (isinstance(size, int) and size >= 1):
        return size
    raise UsageError(
        f"micro_batch={size!r} is not allowed: it must be a whole number above 0, 'auto' or None"
    )
