"""The pieces in which data goes through the network: a matter of speed and memory that changes no number.

A batch is what the user's loader yields, and what measures of single batches are about. A micro-batch is what is
computed at once: a part of a batch where memory is short, several batches where larger pieces are quicker.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.objective.batches import Batch, rows_in, rows_of

Size = int | Literal["auto"] | None


@dataclass(frozen=True)
class Piece:
    """Examples that are computed together.

    Attributes:
        batch: As the loader would yield them.
        start: The number of the first row.
        size: How many rows; of a batch that is not made of rows, how many examples it says it holds.
    """

    batch: Batch
    start: int
    size: int


@dataclass
class MicroBatches:
    """How many examples are computed at once.

    Attributes:
        size: The most; ``None`` for whole batches, ``"auto"`` until it has been found by measuring.
        obstacle: Why batches cannot be split or joined; empty if they can, ``None`` if not yet known.
    """

    size: Size = None
    obstacle: str | None = None

    @property
    def limit(self) -> int | None:
        """The size, where it is a number."""
        return self.size if isinstance(self.size, int) else None

    def pieces(self, batches: Iterable[tuple[int, Batch]], *, join: bool) -> Iterator[Piece]:
        """The batches, joined up to the size if that is allowed; a larger batch is left whole.

        Args:
            batches: Sizes and batches.
            join: Whether batches may be put together.
        """
        start, count, waiting = 0, 0, list[Batch]()
        for size, batch in batches:
            rows = rows_in(batch) or size
            room = self.limit if join and self.obstacle == "" else None
            if waiting and (room is None or count + rows > room or not _alike(waiting[-1], batch)):
                yield Piece(_joined(waiting), start, count)
                start, count, waiting = start + count, 0, []
            waiting.append(batch)
            count += rows
        if waiting:
            yield Piece(_joined(waiting), start, count)

    def split(self, piece: Piece) -> list[Piece]:
        """The piece in parts of nearly equal size, none above the limit."""
        if self.limit is None or self.obstacle != "" or piece.size <= self.limit:
            return [piece]
        count = -(-piece.size // self.limit)
        edges = [piece.size * k // count for k in range(count + 1)]
        return [
            Piece(rows_of(piece.batch, slice(a, b)), piece.start + a, b - a)
            for a, b in itertools.pairwise(edges)
        ]


def _alike(first: Batch, second: Batch) -> bool:
    """Whether two batches are equal but for their rows, so that they can be put together."""
    a, b = list(_leaves(first)), list(_leaves(second))
    return a == b


def _leaves(batch: Batch) -> Iterator[object]:
    """Keys, shapes of rows, and types of a nested batch; of what is not a tensor, the value."""
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield key
            yield from _leaves(value)
    elif isinstance(batch, (tuple, list)):
        yield len(batch)
        for value in batch:
            yield from _leaves(value)
    else:
        yield (batch.shape[1:], batch.dtype) if isinstance(batch, Tensor) else batch


def _joined(batches: Sequence[Batch]) -> Batch:
    """Batches that are alike, row after row."""
    first = batches[0]
    if len(batches) == 1 or not isinstance(first, (Tensor, Mapping, tuple, list)):
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(batches))
    if isinstance(first, Mapping):
        return {key: _joined([batch[key] for batch in batches]) for key in first}
    return tuple(_joined([batch[k] for batch in batches]) for k in range(len(first)))


def allowed_size(size: Size) -> Size:
    """The size, checked."""
    if size is None or size == "auto" or (isinstance(size, int) and size >= 1):
        return size
    raise UsageError(
        f"micro_batch={size!r} is not allowed: it must be a whole number above 0, 'auto' or None"
    )
