"""How much memory there is, and how much a graph holds."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

_GROUP = Path("/sys/fs/cgroup")
_SYSTEM = Path("/proc/meminfo")


def available_bytes(device: torch.device) -> int:
    """Memory on the device that could be used now without harm to anybody; 0 if that cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    found = [amount for amount in (_of_the_system(), _of_the_group()) if amount is not None]
    return max(0, min(found, default=0))


def _of_the_system() -> int | None:
    try:
        for line in _SYSTEM.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _of_the_group() -> int | None:
    """What the control group of a container or batch job leaves; ``None`` without a limit."""
    try:
        limit = (_GROUP / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((_GROUP / "memory.current").read_text())
        lines = (_GROUP / "memory.stat").read_text().splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return int(limit) - used + cached
    except (OSError, ValueError):
        return None


class Held:
    """Bytes that were saved for backward passes; see :func:`saved_for_backward`."""

    def __init__(self) -> None:
        self.bytes = 0


@contextlib.contextmanager
def saved_for_backward(device: torch.device, *, besides: Tensor) -> Iterator[Held]:
    """Counts the bytes that autograd saves meanwhile, each storage once.

    On CUDA the allocator is asked; elsewhere the saved tensors are counted as they go by.

    Args:
        device: Where.
        besides: A tensor whose storage does not count: the parameters themselves.
    """
    held = Held()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        yield held
        held.bytes = torch.cuda.memory_allocated(device) - before
        return
    seen = {besides.untyped_storage().data_ptr()}

    def pack(tensor: Tensor) -> tuple[Tensor, int]:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            held.bytes += storage.nbytes()
        # Not the tensor itself: it holds the graph that holds it, a circle through C++ that no collector sees. What
        # autograd hands out later has its place in the graph again, which autograd remembers.
        return tensor.detach(), tensor._version

    def unpack(packed: tuple[Tensor, int]) -> Tensor:
        tensor, version = packed
        if tensor._version != version:  # autograd's own check, which it leaves out where there are hooks
            raise RuntimeError("a tensor that a derivative needs was modified by an in-place operation")
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield held
