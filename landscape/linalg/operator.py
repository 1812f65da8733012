"""A symmetric matrix known only by its products with vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SymmetricOperator:
    """A symmetric ``(n, n)`` matrix A as ``V ↦ A V``.

    Attributes:
        product: Takes ``(n,)`` or ``(n, K)`` and returns the same shape.
        dimension: n.
        device: Where vectors live.
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
        signs = torch.stack(
            [torch.randint(0, 2, (self.dimension,), generator=generator) for _ in range(columns)], dim=1
        )
        return (2 * signs - 1).to(self.device, self.dtype)


def dense(matrix: Tensor) -> SymmetricOperator:
    """The operator of a symmetric matrix ``(n, n)`` that is at hand."""
    return SymmetricOperator(lambda v: matrix @ v, matrix.shape[0], matrix.device, matrix.dtype)
