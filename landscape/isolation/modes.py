"""The modes and defaults of torch that a caller may have set."""

import contextlib
from collections.abc import Callable, Iterator

import torch

_AUTOCAST = "cpu", "cuda", "mps"


@contextlib.contextmanager
def outside_modes() -> Iterator[None]:
    """Outside the caller's inference mode, whose tensors cannot be differentiated later, and outside autocast."""
    with contextlib.ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.no_grad())  # to leave inference mode turns autograd on
        if torch._C._is_any_autocast_enabled():
            for kind in _AUTOCAST:
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def plain_defaults(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """New tensors are on the CPU and of one type, so that what is built here has the same random numbers everywhere.

    The default type belongs to the process: to be used where little is computed.
    """
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with on_device("cpu"), outside_modes():
            yield
    finally:
        torch.set_default_dtype(before)


def on_device(device: torch.device | str) -> contextlib.AbstractContextManager[object]:
    """New tensors are on this device, unless another is named."""
    # A device as a context sends every operation of torch through Python.
    try:
        if torch.get_default_device() == torch.device(device):
            return contextlib.nullcontext()
    except (RuntimeError, AssertionError):  # the default is a device that is not there
        pass
    return torch.device(device)


def on_autocast() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A context that has autocast as it is now, for what is computed again later; caches nothing."""
    kinds = (
        [kind for kind in _AUTOCAST if torch.is_autocast_enabled(kind)]
        if torch._C._is_any_autocast_enabled()
        else []
    )
    types = {kind: torch.get_autocast_dtype(kind) for kind in kinds}

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        with contextlib.ExitStack() as modes:
            for kind, dtype in types.items():
                modes.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=False))
            yield

    return again
