"""Counts the operations for which the host waits for the device: reads of numbers, and results whose shape they decide.

On CUDA each of these stops the host until all work queued before it is done. Without CUDA, tensors of the CPU stand for
those of the device, so that reads of tensors that would stay on the host are counted as well; with a device of tensors
of its own (``tests/pretend_device.py``), only what concerns that device is counted.
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that read values on the host, or whose result has a shape that depends on values.
READING = {
    *("_local_scalar_dense", "equal", "is_nonzero", "item", "nonzero", "nonzero_numpy", "argwhere"),
    *("masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
    *("allclose", "isin", "bincount", "multinomial", "histc"),
    *("_linalg_eigh", "_linalg_check_errors", "_linalg_svd"),
}
# Methods that copy to the host, which for a tensor of the CPU are no operations of the dispatcher. Arrays of NumPy are
# views of tensors of the CPU, and cannot be made of others.
COPYING = {Tensor.cpu: "cpu", Tensor.tolist: "tolist"}


class Waits:
    """A context that counts what the host waits for.

    Args:
        device: The type of the device; tensors on others are not counted.

    Attributes:
        operations: How often each operation read from the device.
        uploads: How often a tensor was copied to the device while the host waited; none on the CPU.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.operations: Counter[str] = Counter()
        self.uploads = 0
        self._stack = ExitStack()

    @property
    def total(self) -> int:
        """The number of reads."""
        return self.operations.total()

    def __enter__(self) -> Self:
        for mode in (_Operations(self), _Methods(self)):
            self._stack.enter_context(mode)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _count(self, name: str, args: Any, kwargs: Any) -> None:
        """Counts an operation of the dispatcher if the host waits for it."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = any(tensor.device.type == self.device for tensor in tensors)
        if name in ("_to_copy", "copy_"):
            arrives = kwargs.get("device") if name == "_to_copy" else args[0].device
            arrives, leaves = torch.device(arrives or args[0].device), args[-1 if name == "copy_" else 0]
            waiting = not (kwargs.get("non_blocking") or (name == "copy_" and args[2:] and args[2]))
            if arrives.type != leaves.device.type:
                if leaves.device.type == self.device:
                    self.operations["copy to the host"] += 1
                elif arrives.type == self.device and waiting:
                    self.uploads += 1
        elif here and (name in READING or self._decides_shape(name, args, kwargs)):
            self.operations[name] += 1

    def _decides_shape(self, name: str, args: Any, kwargs: Any) -> bool:
        """Whether a mask selects, or lengths repeat, a number of elements that the host must know."""
        if name == "repeat_interleave":
            return kwargs.get("output_size") is None
        if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return False
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        # A number under a mask is filled in without counting.
        return bool(masks) and (name == "index" or args[2].numel() != 1)


class _Operations(TorchDispatchMode):
    """What reaches the dispatcher."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._waits._count(function.overloadpacket.__name__, args, kwargs)
        return function(*args, **kwargs)


class _Methods(TorchFunctionMode):
    """What copies tensors of the CPU to the host without an operation."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in COPYING and self._waits.device == "cpu":
            self._waits.operations[COPYING[function]] += 1
        return function(*args, **(kwargs or {}))
