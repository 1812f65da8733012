"""The pieces in which data goes through the network: a matter of speed and memory that changes no number.

A batch is what the user's loader yields, and what measures of single batches are about. A micro-batch is what is
computed at once: a part of a batch where memory is short, several batches where larger pieces are quicker.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.batches import Batch
from landscape.errors import UsageError

Size = int | Literal["auto"] | None


@dataclass(frozen=True)
class Piece:
    """Examples that are computed together.

    Attributes:
        batch: As the loader would yield them.
        start: The number of the first.
        size: How many.
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
            room = self.limit if join and self.obstacle == "" else None
            if waiting and (room is None or count + size > room):
                yield Piece(_joined(waiting), start, count)
                start, count, waiting = start + count, 0, []
            waiting.append(batch)
            count += size
        if waiting:
            yield Piece(_joined(waiting), start, count)

    def split(self, piece: Piece) -> list[Piece]:
        """The piece in parts of nearly equal size, none above the limit."""
        if self.limit is None or self.obstacle != "" or piece.size <= self.limit:
            return [piece]
        count = -(-piece.size // self.limit)
        edges = [piece.size * k // count for k in range(count + 1)]
        return [Piece(part(piece.batch, a, b), piece.start + a, b - a) for a, b in itertools.pairwise(edges)]


def divisible(batch: Batch) -> bool:
    """Whether a batch is ``(inputs, targets)``, two tensors with a row an example."""
    return (
        isinstance(batch, (tuple, list))
        and len(batch) == 2
        and all(isinstance(one, Tensor) and one.ndim > 0 for one in batch)
        and len(batch[0]) == len(batch[1])
    )


def part(batch: Batch, first: int, last: int) -> Batch:
    """Examples ``first`` to ``last`` − 1 of a divisible batch."""
    return batch[0][first:last], batch[1][first:last]


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    return tuple(torch.cat([batch[k] for batch in batches]) for k in range(2))


def allowed_size(size: Size) -> Size:
    """The size, checked."""
    if size is None or size == "auto" or (isinstance(size, int) and size >= 1):
        return size
    raise UsageError(
        f"micro_batch={size!r} is not allowed: it must be a whole number above 0, 'auto' or None"
    )
