"""Stand-ins for the harmless things that checkpoints hold beside tensors: settings, paths, NumPy numbers.

Opening a file safely means that only listed names are ever imported. What is listed here is not the real class
either: a path becomes text, a NumPy number a number, a ``Namespace`` the plain values in it, and none of them does
more than keep its arguments.
"""

import argparse
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_DIMENSIONS = 64  # of torch's own loops over elements
_NUMBER = frozenset("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split())


class Unused:
    """Something that is not needed to know the weights; its arguments and state are dropped."""

    def __new__(cls, *arguments: object) -> "Unused":
        """An empty object."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class PlainDict:
    """Stands for subclasses of ``dict``, whose arguments, such as a default factory, are dropped."""

    # Not a function: pickles make objects with __new__, and torch fills only what is exactly such a dictionary.
    def __new__(cls, *arguments: object) -> "OrderedDict[Any, Any]":  # type: ignore[misc]
        """An empty dictionary."""
        return OrderedDict()


class DType:
    """A NumPy type by its code, such as ``f8``, and its byte order."""

    def __init__(self, code: object = "", *rest: object) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]


class Array:
    """A NumPy array, kept as its bytes until its tensor is requested."""

    def __init__(self, *arguments: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    @cached_property
    def tensor(self) -> Tensor | None:
        """The array, or ``None`` where it does not hold numbers or its parts do not fit together."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            return None
        _version, shape, dtype, by_column, raw = self.state
        if not isinstance(shape, tuple) or len(shape) > MOST_DIMENSIONS:
            return None
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            return None
        values = _numbers(dtype, raw)
        if values is None or values.size != math.prod(shape):
            return None
        ordered = values.reshape(shape, order="F" if by_column is True else "C")
        return torch.from_numpy(np.ascontiguousarray(ordered).reshape(shape))


def scalar(dtype: object = None, raw: object = None, *rest: object) -> object:
    """The number in a NumPy scalar, or something :class:`Unused`."""
    values = _numbers(dtype, raw)
    return values[0].item() if values is not None and values.size == 1 else Unused()


def path(*parts: object) -> str:
    """A path as text."""
    return "/".join(part for part in parts if isinstance(part, str)).replace("//", "/")


def _numbers(dtype: object, raw: object) -> "np.ndarray[Any, Any] | None":
    if not isinstance(dtype, DType) or dtype.code not in _NUMBER or not isinstance(raw, bytes):
        return None
    kind = np.dtype(dtype.code).newbyteorder(dtype.order)  # type: ignore[arg-type]
    if len(raw) % kind.itemsize:
        return None
    return np.frombuffer(raw, dtype=kind).astype(
        kind.newbyteorder("=")
    )  # torch has the machine's byte order only


def _named(modules: str, names: str) -> list[str]:
    return [f"{module}.{name}" for module in modules.split() for name in names.split()]


_LIGHTNING = "pytorch_lightning.callbacks lightning.pytorch.callbacks"
_STANDS_FOR: dict[Callable[..., object], list[str]] = {
    argparse.Namespace: ["argparse.Namespace", "types.SimpleNamespace"],
    PlainDict: [
        "collections.defaultdict",
        *_named("lightning.fabric.utilities.data lightning_fabric.utilities.data", "AttributeDict"),
        *_named("pytorch_lightning.utilities.parsing lightning.pytorch.utilities.parsing", "AttributeDict"),
    ],
    DType: ["numpy.dtype"],
    Array: ["numpy.ndarray", *_named("numpy.core.multiarray numpy._core.multiarray", "_reconstruct")],
    scalar: _named("numpy.core.multiarray numpy._core.multiarray", "scalar"),
    path: _named(
        "pathlib pathlib._local", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
    ),
    Unused: [
        *_named("builtins", "list dict tuple int float str bool range slice"),
        *_named("datetime", "datetime date time timedelta timezone"),
        *_named("numpy", "float64 float32 float16 int64 int32 int16 int8 uint8 bool_ str_"),
        *_named(_LIGHTNING, "model_checkpoint.ModelCheckpoint early_stopping.EarlyStopping"),
        "torch.torch_version.TorchVersion",
    ],
}

INERT: list[tuple[Callable[..., object], str]] = [
    (stand_in, name) for stand_in, names in _STANDS_FOR.items() for name in names
]
"""The argument of :func:`torch.serialization.safe_globals`: a stand-in, and the name in the file."""
