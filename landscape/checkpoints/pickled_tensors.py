"""The tensors and containers of a pickle, made by functions of ours that check what the file claims."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.checkpoints.inert import INERT, MOST_DIMENSIONS, Unused
from landscape.checkpoints.weights import NUMBERS


class NotPlain(ValueError):
    """A tensor is not one of plain numbers; the text says of which kind it is."""


@dataclass(frozen=True, eq=False)
class Kind:
    """The class of a storage: the type of its numbers."""

    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of tensors, and the type of the numbers in it."""

    storage: torch.UntypedStorage
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Maker:
    """Our replacement of a function that a file may call, wrapped so that it is not itself callable."""

    make: Callable[..., object]


def _tensor(memory: object, offset: object, size: object, stride: object, *rest: object) -> Tensor:
    """A view of memory, as ``torch._utils._rebuild_tensor_v2``, which would enlarge the memory to the view."""
    if not isinstance(memory, Memory) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise ValueError
    if not isinstance(offset, int) or len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
        raise ValueError
    if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)):
        raise ValueError
    if any(type(value) is dict and value for value in rest):
        raise NotPlain("conjugated or negated when it is read")
    # The third version says the type here, which the class of its memory does not.
    dtype = next((value for value in rest if isinstance(value, torch.dtype)), memory.dtype)
    last = sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if all(size) else -1
    if (offset + last + 1) * dtype.itemsize > memory.storage.nbytes():
        raise ValueError
    return torch.empty(0, dtype=dtype, device="cpu").set_(memory.storage, offset, size, stride)


def _parameter(tensor: object, *rest: object) -> Tensor:
    """The tensor of a parameter."""
    if not isinstance(tensor, Tensor):
        raise ValueError
    return tensor


def _of_type(maker: object, kind: object, arguments: object, *rest: object) -> object:
    """The tensor of a subclass of tensors."""
    if not isinstance(maker, Maker) or maker.make not in (_tensor, _parameter):
        raise ValueError
    if not isinstance(arguments, tuple):
        raise ValueError
    return maker.make(*arguments)


def _bytes(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError
    return text.encode("latin1")


def _container(kind: type) -> Maker:
    """Makes a container from nothing, or from one other."""

    def make(*arguments: object) -> object:
        if arguments and (len(arguments) > 1 or not isinstance(arguments[0], (list, tuple, dict))):
            raise ValueError
        return kind(*arguments)

    return Maker(make)


_STORAGES = (
    "Double:float64 Float:float32 Half:float16 BFloat16:bfloat16 Long:int64 Int:int32 Short:int16 Char:int8 Byte:uint8 "
    "Bool:bool ComplexDouble:complex128 ComplexFloat:complex64"
)
ADMITTED: dict[str, object] = {
    **{name: Maker(stand_in) for stand_in, name in INERT},
    **{
        f"torch.{name}Storage": Kind(getattr(torch, dtype))
        for name, _, dtype in (pair.partition(":") for pair in _STORAGES.split())
    },
    "torch.storage.UntypedStorage": Kind(torch.uint8),
    **{str(dtype): dtype for dtype in NUMBERS},
    "torch._utils._rebuild_tensor": Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": Maker(_tensor),
    "torch._utils._rebuild_tensor_v3": Maker(_tensor),
    "torch._utils._rebuild_parameter": Maker(_parameter),
    "torch._utils._rebuild_parameter_with_state": Maker(_parameter),
    "torch.nn.parameter.Parameter": Maker(_parameter),
    "torch._tensor._rebuild_from_type_v2": Maker(_of_type),
    "collections.OrderedDict": _container(OrderedDict),
    "collections.Counter": _container(OrderedDict),
    "builtins.set": _container(set),
    "torch.Size": _container(tuple),
    "_codecs.encode": Maker(_bytes),
    **{
        name: Maker(Unused)
        for name in (
            *("torch.device", "builtins.complex", "torch.serialization._get_layout"),
            *("builtins.frozenset", "collections.deque", "logging.getLogger"),
        )
    },
}
"""Replacements of the classes and functions that pickled tensors and plain values need, by name in the file."""
