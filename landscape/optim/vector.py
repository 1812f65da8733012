"""Unit vectors, lengths and orthogonal parts, defined also where the papers divide by zero.

The results are tensors, and nothing is read from the device of the vectors. On the CPU, where nothing waits, numbers
are read, because the arithmetic of tensors costs more than a small layer.

Where the parameters are sharded, a vector is the part of one process, and every sum here goes over all of them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from landscape.processes.group import ALONE, Group
from landscape.reductions import exact_dtype

SMALL = 1e-12  # far below the length of any gradient: it only matters where that is zero
HALF = (torch.float16, torch.bfloat16)


class _Shards(threading.local):
    group: Group = ALONE  # of this thread, so that a step elsewhere sums over its own


_SHARDS = _Shards()


@contextmanager
def summed_over(group: Group) -> Iterator[None]:
    """Inside, the vectors of this thread are shards, and sums go over the processes of a group."""
    before, _SHARDS.group = _SHARDS.group, group
    try:
        yield
    finally:
        _SHARDS.group = before


def total(value: Tensor) -> Tensor:
    """The sum of a 0-dim tensor over the shards; the tensor itself where there are none."""
    if _SHARDS.group is ALONE:
        return value
    wide = value.to(exact_dtype(value.device), copy=True)
    _SHARDS.group.add([wide])
    return wide.to(value.dtype)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The inner product ``⟨x, y⟩``, 0-dim."""
    product = torch.dot(x, y)  # not @, which autocast would compute in half precision
    return product if _SHARDS.group is ALONE else total(product)


def unit(vector: Tensor, *, times: float | Tensor = 1.0, out: Tensor | None = None) -> Tensor:
    """The unit vector ``x / (‖x‖ + 1e-12)``; zero where ``x`` is zero or its length overflows.

    Args:
        vector: x, shape ``(n,)``, finite. Half precision is normalised in float32.
        times: Factor of the result, a number or a vector ``(n,)``: the length ρ of a displacement.
        out: Where to put the result, such as ``x`` itself when it is not needed again.
    """
    wide = vector.float() if vector.dtype in HALF else vector
    norm = _norm(wide)
    scale: float | Tensor
    if norm.device.type == "cpu" and not isinstance(times, Tensor):
        scale = times / (number(norm) + SMALL)
    else:
        factor = times.to(wide.dtype) if isinstance(times, Tensor) else times
        scale = norm.add_(SMALL).reciprocal_() * factor
    if wide is vector:
        return torch.mul(vector, scale, out=out)
    result = (wide * scale).to(vector.dtype)
    return result if out is None else out.copy_(result)


def orthogonal(vector: Tensor, *, to: Tensor, out: Tensor | None = None) -> Tensor:
    """The part of ``x`` orthogonal to ``y``: ``x − (⟨x, y⟩ / ⟨y, y⟩) y``; all of ``x`` where ``y`` is zero.

    ``out`` is where to put the result, such as ``x`` itself when it is not needed again.
    """
    if vector.dtype in HALF:  # in which the products could overflow or vanish
        result = orthogonal(vector.float(), to=to.float()).to(vector.dtype)
        return result if out is None else out.copy_(result)
    square = dot(to, to)
    if square.device.type == "cpu":
        divisor = number(square)
        return torch.sub(vector, to, alpha=number(dot(vector, to)) / divisor if divisor > 0 else 0.0, out=out)
    ratio = torch.where(square > 0, dot(vector, to) / square, 0.0)
    return torch.addcmul(vector, to, ratio, value=-1.0, out=out)


def number(value: Tensor) -> float:
    """A 0-dim tensor on the CPU as a number, copied from where it lies without a call of torch."""
    copied: Any = value.tolist()
    return float(copied)


def length(vector: Tensor) -> Tensor:
    """The Euclidean length ``‖x‖``, 0-dim; that of half precision in float32."""
    return _norm(vector.float() if vector.dtype in HALF else vector)


def significant(difference: Tensor, *, of: Tensor) -> Tensor:
    """A difference ``(n,)`` of two vectors, one of them ``of``; zero where it is only rounding. It is written to."""
    # Normalised, a difference that is all rounding would be a random direction of full length.
    rounding = 4 * torch.finfo(of.dtype).eps * length(of)
    return difference.mul_(length(difference) > rounding)


def _norm(vector: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(vector)
    if _SHARDS.group is ALONE:
        return norm
    square = norm.to(exact_dtype(norm.device)).square()
    return total(square).sqrt_().to(norm.dtype)
