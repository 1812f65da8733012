"""Operators of other libraries as ours, and ours as scipy's.

Every solver here accepts anything with a ``shape`` and an ``@``: a matrix, scipy's ``LinearOperator``, an operator of
curvlinops.
"""

from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import linalg as sparse
from torch import Tensor

from landscape.errors import UsageError
from landscape.linalg.operator import SymmetricOperator


@runtime_checkable
class Multiplies(Protocol):
    """Anything with a shape ``(n, n)`` that vectors can be multiplied with from the left."""

    @property
    def shape(self) -> Any:
        """``(n, n)``."""
        ...

    def __matmul__(self, vectors: Any, /) -> Any: ...


Operator = SymmetricOperator | Multiplies


def as_operator(
    matrix: Operator, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> SymmetricOperator:
    """The symmetric operator of anything with a square ``shape`` and ``@``; symmetry is not checked.

    Args:
        matrix: A :class:`SymmetricOperator` is returned as it is. scipy's operators and numpy's arrays are
            multiplied with numpy vectors, everything else with tensors.
        device: Of the vectors; by default ``matrix.device``, or the CPU.
        dtype: Their precision; by default ``matrix.dtype``, or float32 for tensors and float64 for numpy.

    Raises:
        UsageError: ``matrix`` is not square, or has no ``@``.
    """
    if isinstance(matrix, SymmetricOperator):
        return matrix
    shape = tuple(getattr(matrix, "shape", ()))
    if len(shape) != 2 or shape[0] != shape[1] or not hasattr(matrix, "__matmul__"):
        raise UsageError(
            f"{type(matrix).__name__} with shape {shape} is not an operator here: a square shape (n, n) and '@' "
            "with vectors are needed, such as a tensor, scipy's LinearOperator or a curvlinops operator"
        )
    own = getattr(matrix, "dtype", None)
    if isinstance(matrix, (sparse.LinearOperator, np.ndarray)) or isinstance(own, np.dtype):
        return from_scipy(matrix, device=device or "cpu", dtype=dtype)
    if not (isinstance(own, torch.dtype) and own.is_floating_point):
        own = torch.float32
    place = torch.device(device or getattr(matrix, "device", None) or "cpu")
    # Copied, for nobody knows what else has an image: it may be the vector itself.
    return SymmetricOperator(lambda v: torch.clone(matrix @ v), int(shape[0]), place, dtype or own)


def from_scipy(
    matrix: Any, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> SymmetricOperator:
    """A scipy ``LinearOperator``, sparse matrix or numpy array as an operator of ours.

    Args:
        matrix: Square and symmetric.
        device: Of our vectors; products are computed by numpy on the CPU.
        dtype: Of our vectors; by default that of ``matrix`` (float64 if it is neither single nor double).
    """
    theirs = np.dtype(getattr(matrix, "dtype", None) or np.float64)
    if theirs not in (np.dtype(np.float32), np.dtype(np.float64)):
        theirs = np.dtype(np.float64)
    ours = dtype or (torch.float32 if theirs == np.float32 else torch.float64)
    place = torch.device(device)

    def product(vectors: Tensor) -> Tensor:
        image = matrix @ vectors.detach().cpu().numpy().astype(theirs, copy=False)
        return torch.from_numpy(np.array(image)).to(place, ours)

    return SymmetricOperator(product, int(matrix.shape[0]), place, ours)


def to_scipy(matrix: Operator) -> sparse.LinearOperator:
    """The operator for scipy's solvers, such as ``eigsh``: numpy vectors of its own precision in and out."""
    operator = as_operator(matrix)
    kind = np.dtype(np.float64 if operator.dtype == torch.float64 else np.float32)

    def product(vectors: NDArray[Any]) -> NDArray[Any]:
        tensor = torch.from_numpy(np.ascontiguousarray(vectors)).to(operator.device, operator.dtype)
        # scipy's matvec passes (n,) or (n, 1): a single column is the cheaper product with a vector.
        image = operator @ (tensor.reshape(-1) if tensor.ndim == 1 or tensor.shape[1] == 1 else tensor)
        return cast(NDArray[Any], image.detach().cpu().numpy().reshape(vectors.shape))

    return sparse.LinearOperator(
        operator.shape, matvec=product, rmatvec=product, matmat=product, rmatmat=product, dtype=kind
    )
