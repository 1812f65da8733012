"""A symmetric matrix known only by its products with vectors, and the first vector of an iteration."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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

    def normal(self, generator: torch.Generator) -> Tensor:
        """A standard normal vector ``(n,)``, drawn on the CPU so that it is the same on every device."""
        drawn = torch.randn(self.dimension, generator=generator, dtype=torch.float64)
        return drawn.to(self.device, self.dtype)

    def rademacher(self, columns: int, generator: torch.Generator) -> Tensor:
        """Independent signs ``(n, columns)``, drawn on the CPU column by column."""
        signs = [torch.randint(0, 2, (self.dimension,), generator=generator) for _ in range(columns)]
        return (2 * torch.stack(signs, dim=1) - 1).to(self.device, self.dtype)

    def start(self, suggestion: Tensor | None, generator: torch.Generator) -> Tensor:
        """A random unit vector ``(n,)``, or the suggested one with a tenth of a random one added.

        The random part keeps every eigenvector within reach, also from a start that is an eigenvector itself.
        """
        noise = self.normal(generator)
        noise /= length(noise)
        if suggestion is None or length(suggestion) == 0:
            return noise
        mixed = suggestion.to(noise) / length(suggestion) + 0.1 * noise
        return mixed / length(mixed)


def dense(matrix: Tensor) -> SymmetricOperator:
    """The operator of a symmetric matrix ``(n, n)``."""
    return SymmetricOperator(lambda v: matrix @ v, matrix.shape[0], matrix.device, matrix.dtype)


def length(vector: Tensor) -> float:
    """‖vector‖, summed in float64: in float32 the squares of entries above 2e19 overflow, those below 1e-23 vanish."""
    return float(norm(vector))
