"""Pretended processes that divide the coordinates of a matrix: threads that add what each has at a barrier."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from landscape.linalg import SymmetricOperator

T = TypeVar("T")


class Meeting:
    """Sums over threads, each of which calls :meth:`total` with its part."""

    def __init__(self, world: int) -> None:
        self._parts: list[Tensor | None] = [None] * world
        self._barrier = threading.Barrier(world, timeout=20)

    def gathered(self, rank: int, part: Tensor) -> list[Tensor]:
        """The parts of all threads."""
        self._parts[rank] = part
        self._barrier.wait()
        parts = [part for part in self._parts if part is not None]
        self._barrier.wait()
        return parts

    def total(self, rank: int, part: Tensor) -> Tensor:
        """Their sum."""
        return torch.stack(self.gathered(rank, part)).sum(dim=0)


def divided(sizes: Sequence[int], world: int, rank: int) -> tuple[range, ...]:
    """The coordinates of a process: of every tensor of these sizes a slice of equal length, or what is left."""
    ranges, first = [], 0
    for size in sizes:
        share = -(-size // world)
        ranges.append(range(first + min(rank * share, size), first + min((rank + 1) * share, size)))
        first += size
    return tuple(ranges)


def by_processes(
    matrix: Tensor, sizes: Sequence[int], world: int, solve: Callable[[SymmetricOperator], T]
) -> list[tuple[Tensor, T]]:
    """What every process gets from a solver, with the numbers of its coordinates."""
    meeting = Meeting(world)
    everywhere = [
        torch.tensor([i for part in divided(sizes, world, rank) for i in part], dtype=torch.int64)
        for rank in range(world)
    ]

    def process(rank: int) -> tuple[Tensor, T]:
        def product(vectors: Tensor) -> Tensor:
            whole = vectors.new_empty(len(matrix), *vectors.shape[1:])
            for here, part in zip(everywhere, meeting.gathered(rank, vectors), strict=True):
                whole[here] = part
            return (matrix @ whole)[everywhere[rank]]

        whole = SymmetricOperator(product, len(matrix), matrix.device, matrix.dtype)
        operator = dataclasses.replace(
            whole,
            ranges=divided(sizes, world, rank),
            total=lambda numbers: meeting.total(rank, numbers),
        )
        return everywhere[rank], solve(operator)

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(process, range(world)))
