"""How the batches of a data set are divided over processes: consecutive blocks of one global sequence.

Everything that is random is drawn by the global number of an example, and every sum is over all blocks, so that a
number does not depend on how many processes computed it.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from landscape.errors import InputError
from landscape.processes.group import Group


class Amounts(NamedTuple):
    """The examples, the rows and the weight of each of some batches, those of weight 0 included."""

    sizes: list[int]
    rows: list[int]
    weights: list[float]

    def counting(self) -> "Amounts":
        """Those of the batches of some weight."""
        kept = [each for each in zip(*self, strict=True) if each[2] > 0]
        return Amounts(*(list(column) for column in zip(*kept, strict=True))) if kept else Amounts([], [], [])


@dataclass(frozen=True)
class Division:
    """The batches of some weight of all processes, and which of them each process visits.

    Attributes:
        sizes: Examples of each batch, in the global order.
        rows: Rows of each, or examples for batches that are not made of rows.
        weights: The weight of each.
        num_examples: Examples in all batches, those of weight 0 included.
        blocks: The numbers of the batches that each process visits.
        rank: The number of this process.
    """

    sizes: list[int]
    rows: list[int]
    weights: list[float]
    num_examples: int
    blocks: list[range]
    rank: int = 0

    @classmethod
    def split(cls, amounts: Amounts, group: Group) -> "Division":
        """The division of batches that every process holds, into blocks with about as many examples each.

        Raises:
            InputError: No batch has any weight.
        """
        counting = _some(amounts)
        blocks = balanced(counting.sizes, group.world)
        return cls(*counting, sum(amounts.sizes), blocks, group.rank)

    @classmethod
    def joined(cls, parts: Sequence[Amounts], group: Group) -> "Division":
        """The division of batches of which every process holds its own, in the order of the processes.

        Raises:
            InputError: No batch has any weight.
        """
        counting = _some(Amounts(*(list(itertools.chain(*column)) for column in zip(*parts, strict=True))))
        ends = list(itertools.accumulate(len(part.counting().sizes) for part in parts))
        blocks = [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        return cls(*counting, sum(sum(part.sizes) for part in parts), blocks, group.rank)

    @property
    def here(self) -> range:
        """The numbers of the batches that this process visits."""
        return self.blocks[self.rank]

    @property
    def first_row(self) -> int:
        """The number of the first row that this process visits, among those of all processes."""
        return sum(self.rows[: self.here.start])

    @property
    def idle(self) -> bool:
        """Whether any process has nothing to visit."""
        return not all(self.blocks)

    def owner(self, number: int) -> int:
        """The process that visits a batch."""
        return next(rank for rank, block in enumerate(self.blocks) if number in block)


def balanced(sizes: Sequence[int], world: int) -> list[range]:
    """Consecutive blocks of batches with these sizes, one a process: a batch goes where its middle example lies."""
    total, before, owners = sum(sizes), 0, list[int]()
    for size in sizes:
        owners.append(min(world - 1, (2 * before + size) * world // max(1, 2 * total)))
        before += size
    starts = [bisect.bisect_left(owners, rank) for rank in range(world + 1)]
    return [range(start, end) for start, end in itertools.pairwise(starts)]


def _some(amounts: Amounts) -> Amounts:
    counting = amounts.counting()
    if not counting.weights:
        raise InputError(
            "no example of the data counts: the weights of all batches are 0 (are all labels the ignored one, "
            "or of classes of weight 0?)"
        )
    return counting
