"""A network that a file names is built within the memory that a file may take, and refused before it takes more."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.errors import InputError
from landscape.records.reading import BEYOND

_WIDER = 8  # float64 of 8-bit weights
_LEAST = 16 << 10  # what a layer costs beside its numbers, in time too


class WithinMemory(TorchDispatchMode):
    """Inside, tensors are allocated as long as all together fit what the file may take.

    A mode sees an allocation before it is made. Nothing duller does: a network on the meta device cannot be built where
    its class looks at numbers.

    Args:
        path: The file that names the network.
        name: What it names.
        stored: Bytes of the file.
    """

    def __init__(self, path: Path, name: str, *, stored: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path, self.name = path, name
        self.most = self.left = _WIDER * stored + BEYOND

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Counts the sizes that are asked for, and does what was asked."""
        options = kwargs or {}
        if args and isinstance(args[0], (list, tuple)) and all(isinstance(side, int) for side in args[0]):
            width = (options.get("dtype") or torch.get_default_dtype()).itemsize
            self.left -= max(_LEAST, width * math.prod(args[0]))
        if self.left < 0:
            raise InputError(
                f"the recipe in {self.path} names {self.name}, which would take more than the {self.most:,} bytes that "
                "fit the weights in the file; name the network that they belong to with -m"
            )
        return func(*args, **options)
