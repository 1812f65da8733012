"""Norms and inner products of long vectors, summed in float64, and numbers read from a device several at a time.

Every read of a number makes the host wait until the device has done all work queued before, so that results stay
tensors until the last moment, and are then read together.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

# Elements converted to float64 at once: on the CPU so few that they stay in the cache and need no new pages of memory,
# which makes a norm of 10 million elements seven times as fast as one conversion of all of them.
_BLOCK = 1 << 16
_BLOCK_ON_DEVICE = 1 << 24

WITHOUT_FLOAT64 = {"mps"}
"""Types of devices."""


def norm(vector: Tensor) -> Tensor:
    """‖vector‖₂ as a tensor ``()``: in float32 the squares of entries above 2e19 overflow, those below 1e-23 vanish."""
    wide = exact_dtype(vector.device)
    # Kernels of devices convert while they sum.
    undivided = vector.device.type != "cpu" or vector.numel() <= _BLOCK
    parts = [vector] if undivided else torch.split(vector.flatten(), _BLOCK)
    norms: list[Tensor] = [torch.linalg.vector_norm(part, dtype=wide) for part in parts]
    return norms[0] if len(norms) == 1 else torch.stack(norms).square().sum().sqrt()


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of two vectors ``(n,)`` as ``()``, or of the columns of ``(n, K)`` as ``(K,)``."""
    wide = exact_dtype(a.device)
    parts = [
        (x.to(wide) * y.to(wide)).sum(0) if x.ndim > 1 else x.to(wide) @ y.to(wide) for x, y in _blocks(a, b)
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def distance(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """‖a − scale·b‖₂ of ``(n,)`` and ``(n,)`` as ``()``."""
    wide = exact_dtype(a.device)
    parts = [torch.linalg.vector_norm(x.to(wide) - scale * y.to(wide)) for x, y in _blocks(a, b)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).square().sum().sqrt()


def gram(columns: Tensor) -> Tensor:
    """All inner products of the columns of ``(n, K)``, ``(K, K)``."""
    wide, count = exact_dtype(columns.device), columns.shape[1]
    total = torch.zeros(count, count, dtype=wide, device=columns.device)
    for part, _ in _blocks(columns, columns):
        rows = part.to(wide)
        total.addmm_(rows.T, rows)
    return total


def numbers(*tensors: Tensor) -> list[float]:
    """All values of some tensors on one device, in one transfer."""
    if not tensors:
        return []
    is_flat = all(tensor.ndim == 0 for tensor in tensors)
    together = torch.stack(tensors) if is_flat else torch.cat([tensor.reshape(-1) for tensor in tensors])
    values: list[float] = together.detach().tolist()
    return values


def _blocks(a: Tensor, b: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Rows of both that are converted at once."""
    block = _BLOCK if a.device.type == "cpu" else _BLOCK_ON_DEVICE
    if a.numel() <= block:
        return [(a, b)]
    rows = max(1, block * len(a) // a.numel())
    return zip(torch.split(a, rows), torch.split(b, rows), strict=True)


def exact(tensor: Tensor) -> Tensor:
    """The tensor in the precision of sums."""
    return tensor.double() if tensor.is_cpu else tensor.to(exact_dtype(tensor.device))


def exact_dtype(device: torch.device) -> torch.dtype:
    """The precision of sums: float64 where the device has it."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
