"""An orthonormal basis that grows, and the orthogonalisation of a vector against it, in place."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.linalg.operator import SymmetricOperator
from landscape.reductions import numbers

Array = NDArray[np.float64]

# Memory that is reserved at once: on a GPU, what is reserved and not used is missing elsewhere.
BLOCK_BYTES = 1 << 22
# Rows in a block at least: a vector is read once for a block.
FEWEST_ROWS = 4
# Columns that a restart combines at once: on the CPU as many as stay in its cache.
_COLUMNS, _COLUMNS_ON_DEVICE = 1 << 14, 1 << 20
# An orthogonalisation is repeated at most as often: two are enough, unless nothing but rounding errors is left.
_MOST_PASSES = 3


def height(row: int, capacity: int) -> int:
    """The number of rows of so many bytes in a block of a basis, for which memory is reserved at once."""
    return min(capacity, max(FEWEST_ROWS, BLOCK_BYTES // max(1, row)))


def reserved_rows(row: int, capacity: int, filled: int) -> int:
    """The rows for which a basis has reserved memory after so many were filled."""
    block = height(row, capacity)
    return min(capacity, -(-filled // block) * block)


class Basis:
    """Orthonormal rows, and beside them one that is still being made: the head.

    Args:
        a: The operator whose space it spans.
        capacity: The most rows, without the head.

    Attributes:
        head: A vector ``(length,)`` that becomes the next row, written to meanwhile; none while the operator computes
            one, for which there is room then.
    """

    def __init__(self, a: SymmetricOperator, capacity: int) -> None:
        self._a, self.capacity, self.rows = a, capacity, 0
        self._height = height(a.length * a.dtype.itemsize, capacity)
        self._blocks: list[Tensor] = []
        self.head: Tensor | None = None

    def __getitem__(self, number: int) -> Tensor:
        """A row ``(length,)``, to be read."""
        block, place = divmod(number, self._height)
        return self._blocks[block][place]

    def append(self, scale: float | Tensor) -> int:
        """Makes a row of the head, divided by its norm ``scale``; returns its number."""
        block = self.rows // self._height
        if len(self._blocks) <= block:
            rows = min(self._height, self.capacity - block * self._height)
            self._blocks.append(torch.empty(rows, self._a.length, dtype=self._a.dtype, device=self._a.device))
        torch.div(self._given, scale, out=self[self.rows])
        self.rows, self.head = self.rows + 1, None
        return self.rows - 1

    @property
    def _given(self) -> Tensor:
        assert self.head is not None
        return self.head

    def orthogonalise(self, *others: Tensor) -> tuple[list[float], float, Array]:
        """Removes from the head its part in the rows, a second time where the first lost digits.

        That is where less than 1/√2 of its norm is left: rounding errors, relative to the norm before, are then so
        large a share of the rest that they spoil its angle to the rows.

        Args:
            others: Numbers ``()`` to be read from the device on this occasion.

        Returns:
            ``others``, the norm of what is left, and the coefficients ``(rows,)`` of what was removed.

        Reference:
            Daniel, Gragg, Kaufman and Stewart, "Reorthogonalization and stable algorithms for updating the
            Gram-Schmidt QR factorization", Math. Comp. 30, 1976, with η = 1/√2; Parlett, "The symmetric eigenvalue
            problem", 1980, section 6.9, with Kahan's proof that twice is enough.
        """
        head, removed = self._given, np.zeros(self.rows)
        values: list[float] = []
        for attempt in range(_MOST_PASSES):
            coefficients = self._removed(head)
            left, *read = numbers(self._a.norm(head), coefficients, *(() if attempt else others))
            values, read = values or read[self.rows :], read[: self.rows]
            removed += read
            # By Pythagoras the norm before is that of both parts together.
            if not left < math.hypot(*read):
                break
        return values, left, removed

    def _removed(self, head: Tensor) -> Tensor:
        """Removes from a vector its part in the rows, by one pass; returns the coefficients ``(rows,)``."""
        parts = list(self._filled())
        if not parts:
            return head.new_empty(0)
        coefficients = self._a.total(torch.cat([part @ head for part in parts]))
        first = 0
        for part in parts:
            head.addmv_(part.T, coefficients[first : first + len(part)], alpha=-1)
            first += len(part)
        return coefficients

    def subtract(self, parts: Mapping[int, float]) -> None:
        """Removes from the head multiples of some rows that are known."""
        for row, factor in parts.items():
            self._given.sub_(self[row], alpha=factor)

    def combined(self, factors: Array) -> Tensor:
        """The vectors ``(length, k)`` with these factors ``(rows, k)`` of the rows."""
        total = torch.zeros(self._a.length, factors.shape[1], dtype=self._a.dtype, device=self._a.device)
        first = 0
        for part in self._filled():
            total.addmm_(part.T, self._here(factors[first : first + len(part)]))
            first += len(part)
        return total

    def recombine(self, factors: Array) -> None:
        """Replaces the rows by k combinations of them, in place; ``factors`` are ``(k, rows)`` and orthonormal."""
        matrix, parts = self._here(factors), list(self._filled())
        width = _COLUMNS if self._a.device.type == "cpu" else _COLUMNS_ON_DEVICE
        for start in range(0, self._a.length, width):
            columns = [part[:, start : start + width] for part in parts]
            rows = matrix @ (columns[0] if len(columns) == 1 else torch.cat(columns))
            for part in columns:
                part[: len(rows)].copy_(rows[: len(part)])
                rows = rows[len(part) :]
        self.rows = len(factors)

    def _filled(self) -> Iterator[Tensor]:
        """The rows in blocks ``(m, length)``."""
        for number, block in enumerate(self._blocks):
            filled = self.rows - number * self._height
            if filled > 0:
                yield block[:filled]

    def _here(self, factors: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(factors)).to(self._a.dtype).to(self._a.device)
