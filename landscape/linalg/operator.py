"""A symmetric matrix known only by its products with vectors, and the first vector of an iteration."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.reductions import norm


@dataclass(frozen=True)
class SymmetricOperator:
    """A symmetric ``(n, n)`` matrix A as ``V ↦ A V``.

    Attributes:
        product: Takes ``(n,)`` or ``(n, K)`` and returns the same shape.
        dimension: n.
        device: The device of the vectors.
        dtype: Their precision.
    """

    product: Callable[[Tensor], Tensor]
    dimension: int
    device: torch.device
    dtype: torch.dtype

    def __matmul__(self, vectors: Tensor) -> Tensor:
        return self.product(vectors)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, n)``."""
        return self.dimension, self.dimension

    @property
    def _like(self) -> Tensor:
        return torch.empty(0, device=self.device, dtype=self.dtype)

    def normal(self, draws: Draws, number: int = 0) -> Tensor:
        """A standard normal vector ``(n,)``; ``number`` tells it from others of the same draws."""
        return draws.normals(range(number, number + 1), self.dimension, like=self._like)[0]

    def rademacher(self, draws: Draws, numbers: range) -> Tensor:
        """Independent signs ``(n, K)``, a column for each number."""
        return draws.signs(numbers, self.dimension, like=self._like).T

    def start(self, suggestion: Tensor | None, draws: Draws) -> Tensor:
        """A random unit vector ``(n,)``, or the suggested one with a tenth of a random one added.

        The random part keeps every eigenvector within reach, also from a start that is an eigenvector itself.
        """
        noise = self.normal(draws)
        noise /= norm(noise)
        if suggestion is None:
            return noise
        size = norm(suggestion)
        mixed = torch.where(size > 0, suggestion / size, 0.0).to(noise) + 0.1 * noise
        return mixed / norm(mixed)


def dense(matrix: Tensor) -> SymmetricOperator:
    """The operator of a symmetric matrix ``(n, n)``."""
    return SymmetricOperator(lambda v: matrix @ v, matrix.shape[0], matrix.device, matrix.dtype)
