"""Counts the memory of tensors as they come and go, on every device."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of tensors that were made inside and are alive; what a kernel takes for itself is not seen.

    Attributes:
        now: At this moment, also after the context.
        peak: The most until now.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation of torch and counts what it returns, except views of its arguments and these themselves."""
        out = function(*args, **(kwargs or {}))
        made = [t for t in pytree.tree_leaves(out) if isinstance(t, Tensor)]
        if made:
            before = {_place(t) for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            for tensor in made:
                self._count(tensor, before)
        return out

    def _count(self, tensor: Tensor, before: set[int]) -> None:
        place = _place(tensor)
        if not place or place in self._alive or place in before:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        self._alive.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, place, size).atexit = False

    def _freed(self, place: int, size: int) -> None:
        self._alive.discard(place)
        self.now -= size


def _place(tensor: Tensor) -> int:
    """Which storage it is; 0 for a tensor without one, and for stand-ins, whose storage takes no memory."""
    try:
        storage = tensor.untyped_storage()
        return 0 if storage.device.type == "meta" else int(storage._cdata)
    except (NotImplementedError, RuntimeError):  # sparse tensors, and stand-ins while they are mapped over
        return 0
