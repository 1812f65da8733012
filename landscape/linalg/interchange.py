"""Operators of other libraries as ours, and ours as scipy's.

Every solver here takes whatever has a ``shape`` and an ``@``: a matrix, scipy's ``LinearOperator``, an operator of
curvlinops.
"""

from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from scipy.sparse import linalg as sparse
from torch import Tensor

from landscape.errors import UsageError
from landscape.linalg.operator import SymmetricOperator


@runtime_checkable
class Multiplies(Protocol):
    """What has a shape and can be multiplied with vectors from the right."""

    @property
    def shape(self) -> Any:
        """``(n, n)``."""
        ...

    def __matmul__(self, vectors: Any, /) -> Any: ...


Operator = SymmetricOperator | Multiplies


def as_operator(
    given: Operator, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> SymmetricOperator:
    """The symmetric operator behind anything with a square ``shape`` and ``@``; symmetry is taken on trust.

    Args:
        given: A :class:`SymmetricOperator` is returned as it is. scipy's operators and numpy's arrays are
            multiplied with numpy vectors, everything else with tensors.
        device: Where vectors are to live; by default what ``given.device`` says, or the CPU.
        dtype: Their precision; by default what ``given.dtype`` says, or float32 for tensors and float64 for numpy.

    Raises:
        UsageError: ``given`` is not square, or has no ``@``.
    """
    if isinstance(given, SymmetricOperator):
        return given
    shape = tuple(getattr(given, "shape", ()))
    if len(shape) != 2 or shape[0] != shape[1] or not hasattr(given, "__matmul__"):
        raise UsageError(
            f"{type(given).__name__} with shape {shape} is not an operator here: a square shape (n, n) and '@' "
            "with vectors are needed, such as a tensor, scipy's LinearOperator or a curvlinops operator"
        )
    if isinstance(given, (sparse.LinearOperator, np.ndarray)) or isinstance(
        getattr(given, "dtype", None), np.dtype
    ):
        return from_scipy(given, device=device or "cpu", dtype=dtype)
    chosen = dtype or _torch_dtype(given)
    place = torch.device(device or getattr(given, "device", None) or "cpu")
    return SymmetricOperator(lambda v: given @ v, int(shape[0]), place, chosen)


def from_scipy(
    given: Any, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> SymmetricOperator:
    """A scipy ``LinearOperator``, sparse matrix or numpy array as ours.

    Args:
        given: Square and symmetric.
        device: Where our vectors live; products are computed by numpy on the CPU.
        dtype: Of our vectors; by default that of ``given`` (float64 where it is neither single nor double).
    """
    theirs = np.dtype(getattr(given, "dtype", None) or np.float64)
    if theirs not in (np.dtype(np.float32), np.dtype(np.float64)):
        theirs = np.dtype(np.float64)
    ours = dtype or (torch.float32 if theirs == np.float32 else torch.float64)
    place = torch.device(device)

    def product(vectors: Tensor) -> Tensor:
        found = given @ vectors.detach().cpu().numpy().astype(theirs, copy=False)
        return torch.from_numpy(np.ascontiguousarray(found)).to(place, ours)

    return SymmetricOperator(product, int(given.shape[0]), place, ours)


def to_scipy(given: Operator) -> sparse.LinearOperator:
    """The operator for scipy's solvers, such as ``eigsh``: numpy vectors in, numpy vectors of its own precision out."""
    operator = as_operator(given)
    kind = np.dtype(np.float64 if operator.dtype == torch.float64 else np.float32)

    def product(vectors: "np.ndarray[Any, np.dtype[Any]]") -> "np.ndarray[Any, np.dtype[Any]]":
        tensor = torch.from_numpy(np.ascontiguousarray(vectors)).to(operator.device, operator.dtype)
        found = operator @ (tensor.reshape(-1) if tensor.ndim == 1 or tensor.shape[1] == 1 else tensor)
        return cast("np.ndarray[Any, np.dtype[Any]]", found.detach().cpu().numpy().reshape(vectors.shape))

    return sparse.LinearOperator(
        operator.shape, matvec=product, rmatvec=product, matmat=product, rmatmat=product, dtype=kind
    )


def _torch_dtype(given: object) -> torch.dtype:
    found = getattr(given, "dtype", None)
    return found if isinstance(found, torch.dtype) and found.is_floating_point else torch.float32
