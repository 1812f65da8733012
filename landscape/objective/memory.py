"""How much memory is available, and how much a graph of autograd takes."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_GROUP = Path("/sys/fs/cgroup")
_SYSTEM = Path("/proc/meminfo")


def available_bytes(device: torch.device) -> int:
    """Memory on the device that can be used now without swapping; 0 if it cannot be determined."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What the caching allocator of torch has reserved and does not use counts as taken for the driver.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    amounts = [amount for amount in (_of_the_system(), _of_the_group()) if amount is not None]
    return max(0, min(amounts, default=0))


def _of_the_system() -> int | None:
    with contextlib.suppress(OSError):  # macOS has no /proc
        for line in _SYSTEM.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _of_the_group() -> int | None:
    """What the control group of a container or batch job leaves; ``None`` without a limit."""
    with contextlib.suppress(OSError, ValueError):  # without a limit, it is "max"
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        lines = (_GROUP / "memory.stat").read_text().splitlines()
        # Pages of files that were read count as used, though the kernel gives them up at once.
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return limit - used + cached
    return None


@dataclass
class SavedBytes:
    """The result of :func:`saved_for_backward`, complete on leaving it."""

    bytes: int = 0


class SavedTensors:
    """What autograd keeps of the tensors that it saves: all of them, as it does without hooks."""

    def drops(self, tensor: Tensor) -> bool:
        """Whether a tensor is not kept, but made again."""
        return False

    def pack(self, tensor: Tensor) -> object:
        """What is kept of a tensor."""
        # Not the tensor itself: it holds the graph that holds it, a circle through C++ that no collector sees. What
        # autograd hands out later has its place in the graph again, which autograd remembers.
        return tensor.detach(), tensor._version

    def unpack(self, packed: Any) -> Tensor:
        """The tensor."""
        tensor, version = packed
        if tensor._version != version:  # autograd's own check, which it leaves out where there are hooks
            raise RuntimeError("a tensor that a derivative needs was modified by an in-place operation")
        saved: Tensor = tensor
        return saved


@contextlib.contextmanager
def saved_for_backward(*, besides: Tensor, kept: SavedTensors | None = None) -> Iterator[SavedBytes]:
    """Counts the bytes that autograd saves inside, each storage once, besides that of one tensor (the parameters).

    ``kept`` is what is kept of each, because of several hooks autograd applies the innermost alone.
    """
    saved, device, kept = SavedBytes(), besides.device, kept or SavedTensors()
    # The allocator of CUDA is exact and costs nothing; elsewhere saved tensors are counted as they go by.
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        yield saved
        saved.bytes = torch.cuda.memory_allocated(device) - before
        return
    seen = {besides.untyped_storage().data_ptr()}

    def pack(tensor: Tensor) -> object:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen and not kept.drops(tensor):
            seen.add(storage.data_ptr())
            saved.bytes += storage.nbytes()
        return kept.pack(tensor)

    with torch.autograd.graph.saved_tensors_hooks(pack, kept.unpack):
        yield saved
