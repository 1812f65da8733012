"""Networks built without values for their weights, which do not fit into memory before they are divided."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from landscape.isolation.switches import Shared, assigned

_LOCAL = threading.local()


def _registration_by_thread() -> contextlib.AbstractContextManager[None]:
    registered: Callable[..., None] = nn.Module.register_parameter

    def register(module: nn.Module, name: str, parameter: Any) -> None:
        known: WeakTensorKeyDictionary | None = getattr(_LOCAL, "known", None)
        if known is not None and isinstance(parameter, nn.Parameter) and not parameter.is_meta:
            if parameter not in known:  # the same tensor may be registered again, as a tied one
                shape = torch.empty_like(parameter, device="meta")
                known[parameter] = nn.Parameter(shape, requires_grad=parameter.requires_grad)
            parameter = known[parameter]
        registered(module, name, parameter)

    return assigned((nn.Module, "register_parameter", register))


_REGISTRATION = Shared(_registration_by_thread)


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Parameters that modules of this thread get inside are on the meta device: shapes without values.

    Each exists in memory until its module has it. Buffers keep their values, because files do not hold all of them.
    """
    with _REGISTRATION:
        _LOCAL.known = WeakTensorKeyDictionary()
        try:
            yield
        finally:
            del _LOCAL.known
