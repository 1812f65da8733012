"""Which examples of a batch are this process's, where several processes compute the steps of one optimizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from landscape.optim.exchange import Exchange
from landscape.processes.group import Group


@dataclass(frozen=True)
class Division:
    """A batch of ``size`` examples, of which this process holds those at ``rows``.

    Given to a :class:`~landscape.optim.BatchClosure`, it makes every pass one of the whole batch: gradients are summed
    and losses joined over the processes, so that displacement, direction and all decisions of a step are those of one
    process, without a change of the optimizer. In a loop of your own, where each process has its part of a batch::

        closure = BatchClosure(model, loss, inputs=inputs, targets=targets, division=Division.of(len(targets)))
        optimizer.step(closure)

    The processes begin with the same weights, and the network is not wrapped in ``DistributedDataParallel``.

    Attributes:
        exchange: How they exchange; one for a whole run.
        size: Examples in all processes.
        rows: Places in the batch of those of this process, ``(b,)`` in int64 on the CPU, in ascending order.
    """

    exchange: Exchange
    size: int
    rows: Tensor

    @classmethod
    def of(cls, examples: int, *, exchange: Exchange | None = None) -> Self:
        """The division of a batch of which this process has so many examples, after those of the processes before it.

        The processes exchange their counts, which need not be equal; one may be zero.
        """
        exchange = exchange or Exchange()
        counts = exchange.group.gathered(examples)
        start = sum(counts[: exchange.group.rank])
        return cls(exchange, sum(counts), torch.arange(start, start + examples, device="cpu"))

    @classmethod
    def split(cls, size: int, exchange: Exchange, *, piece: int | None = None) -> Self:
        """A batch cut into consecutive blocks, one a process, of sizes that differ by at most one.

        Args:
            size: Examples of the batch.
            exchange: How the processes exchange.
            piece: Cuts every piece of so many examples instead, because one is computed after the other, as the
                slices of m-SAM and micro-batches are: each process then has a share of every piece.
        """
        piece, parts = piece or size, []
        for number, start in enumerate(range(0, size, piece)):
            block = block_of(min(piece, size - start), exchange.group, turn=number)
            parts.append(torch.arange(start + block.start, start + block.stop, device="cpu"))
        return cls(exchange, size, torch.cat(parts))

    @property
    def is_idle(self) -> bool:
        """Whether this process has no example of the batch."""
        return len(self.rows) == 0

    def part(self, rows: slice | Tensor) -> tuple["Division", Tensor]:
        """The division of some of the examples, in their order, and the numbers of those ``(b,)`` in this process.

        A choice that lies on a device is read here, because the host has to know how many examples are its own.
        """
        chosen = torch.arange(self.size, device="cpu")[rows.cpu() if isinstance(rows, Tensor) else rows]
        number = torch.full((self.size,), -1, device="cpu")
        number[self.rows] = torch.arange(len(self.rows), device="cpu")
        own = number[chosen]
        places = (own >= 0).nonzero()[:, 0]
        return Division(self.exchange, len(chosen), places), own[places]

    def own(self, values: Tensor) -> Tensor:
        """The rows of this process from those of the whole batch ``(size, …)``; without an example, the first row."""
        rows = self.rows.new_zeros(1) if self.is_idle else self.rows
        return values[rows.to(values.device, non_blocking=True)]

    def whole(self, values: Tensor) -> Tensor:
        """The rows ``(size, …)`` of the whole batch, in its order, from those ``(b, …)`` of every process."""
        own = None if self.is_idle else values.detach().cpu()
        everywhere = self.exchange.group.gathered((self.rows, own))
        order = torch.cat([rows for rows, _ in everywhere]).argsort()
        return torch.cat([part for _, part in everywhere if part is not None])[order].to(values.device)


@contextmanager
def taking_part(division: Division) -> Iterator[bool]:
    """Whether this process runs a pass: also without an example, if the pass itself exchanges something."""
    exchange = division.exchange
    exchange.is_idle = division.is_idle
    try:
        yield not division.is_idle or exchange.couples
    finally:
        exchange.is_idle = False


def block_of(count: int, group: Group, *, turn: int = 0) -> range:
    """The numbers of this process among ``count``: consecutive, and as many as the others have, or one more or less.

    ``turn`` rotates who gets the larger blocks.
    """
    place = (group.rank + turn) % group.world
    return range(count * place // group.world, count * (place + 1) // group.world)
