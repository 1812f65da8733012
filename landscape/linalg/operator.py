"""A symmetric matrix known only by its products with vectors, and the sums and random vectors of its space."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape import reductions
from landscape.draws import Draws


def _identity(numbers: Tensor) -> Tensor:
    """The sum over one process."""
    return numbers


@dataclass(frozen=True)
class SymmetricOperator:
    """A symmetric ``(n, n)`` matrix A as ``V ↦ A V``.

    Several processes may divide the coordinates, so that each has a part of every vector. All of them then make the
    same calls, in which only sums over coordinates are exchanged.

    Attributes:
        product: Takes ``(length,)`` or ``(length, K)`` and returns the same shape, in memory that
            nobody else has.
        dimension: n.
        device: The device of the vectors.
        dtype: Their precision.
        ranges: The coordinates that a vector has here, in their order; ``None`` for all of them.
        total: The sum of a small tensor over the processes, the same bits in each.
        at_once: How many columns a product had best take at once, as far as is known by now: more of them take
            memory, and save what a product does once a call; ``None`` if it does nothing of that kind.
    """

    product: Callable[[Tensor], Tensor]
    dimension: int
    device: torch.device
    dtype: torch.dtype
    ranges: tuple[range, ...] | None = None
    total: Callable[[Tensor], Tensor] = _identity
    at_once: Callable[[], int] | None = None

    def __matmul__(self, vectors: Tensor) -> Tensor:
        return self.product(vectors)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, n)``."""
        return self.dimension, self.dimension

    @property
    def length(self) -> int:
        """The number of coordinates that a vector has here."""
        return self.dimension if self.ranges is None else sum(map(len, self.ranges))

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """The inner product of two vectors as ``()``, or of the columns of ``(length, K)`` as ``(K,)``."""
        return self.total(reductions.dot(a, b))

    def norm(self, vector: Tensor) -> Tensor:
        """‖vector‖₂ as ``()``."""
        return self._root(reductions.norm(vector))

    def distance(self, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        """‖a − scale·b‖₂ as ``()``."""
        return self._root(reductions.distance(a, b, scale))

    def gram(self, columns: Tensor) -> Tensor:
        """All inner products of the columns of ``(length, K)``, ``(K, K)``."""
        return self.total(reductions.gram(columns))

    def _root(self, size: Tensor) -> Tensor:
        # Without a detour through the square, which could overflow, where the coordinates are not divided.
        return size if self.ranges is None else self.total(size.square()).sqrt()

    def normal(self, draws: Draws, number: int = 0) -> Tensor:
        """A standard normal vector ``(length,)``; ``number`` tells it from others of the same draws."""
        return self._drawn(draws.normals, range(number, number + 1))[0]

    def rademacher(self, draws: Draws, numbers: range) -> Tensor:
        """Independent signs ``(length, K)``, a column for each number."""
        return self._drawn(draws.signs, numbers).T

    def _drawn(self, draw: Callable[..., Tensor], numbers: range) -> Tensor:
        """The coordinates that are here of some random vectors, ``(K, length)``; they do not depend on the division."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        if self.ranges is None:
            return draw(numbers, self.dimension, like=like)
        rows, first = like.new_empty(len(numbers), self.length), 0
        for part in self.ranges:
            rows[:, first : first + len(part)] = draw(numbers, len(part), first=part.start, like=like)
            first += len(part)
        return rows

    def start(self, suggestion: Tensor | None, draws: Draws) -> Tensor:
        """A random unit vector ``(length,)``, or the suggested one with a tenth of a random one added.

        The random part keeps every eigenvector within reach, also from a start that is an eigenvector itself.
        """
        vector = self.normal(draws)
        if suggestion is None:
            return vector.div_(self.norm(vector))
        vector.mul_(0.1 / self.norm(vector))
        size = self.norm(suggestion)
        vector.addcmul_(suggestion.to(vector), torch.where(size > 0, 1 / size, 0.0).to(vector))
        return vector.div_(self.norm(vector))


def dense(matrix: Tensor) -> SymmetricOperator:
    """The operator of a symmetric matrix ``(n, n)``."""
    return SymmetricOperator(lambda v: matrix @ v, matrix.shape[0], matrix.device, matrix.dtype)
