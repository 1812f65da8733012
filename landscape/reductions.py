"""Norms and inner products of long vectors, summed in float64, and numbers read from a device several at a time.

Every read of a number makes the host wait until the device has done all work queued before, so that results stay
tensors until the last moment, and are then read together.
"""

import torch
from torch import Tensor

# Elements converted to float64 at once: on the CPU so few that they stay in the cache and need no new pages of memory,
# which makes a norm of 10 million elements seven times as fast as one conversion of all of them.
_BLOCK = 1 << 18
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
    block = _BLOCK if a.device.type == "cpu" else _BLOCK_ON_DEVICE
    rows = max(1, block * len(a) // max(1, a.numel()))
    parts = [
        (x.to(wide) * y.to(wide)).sum(0) if x.ndim > 1 else x.to(wide) @ y.to(wide)
        for x, y in zip(torch.split(a, rows), torch.split(b, rows), strict=True)
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def numbers(*tensors: Tensor) -> list[float]:
    """The values of tensors ``()`` on one device, in one transfer."""
    wide = [exact(tensor.detach()) for tensor in tensors]
    values: list[float] = torch.stack(wide).tolist() if wide else []
    return values


def exact(tensor: Tensor) -> Tensor:
    """The tensor in the precision of sums."""
    return tensor.to(exact_dtype(tensor.device))


def exact_dtype(device: torch.device) -> torch.dtype:
    """The precision of sums: float64 where the device has it."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
