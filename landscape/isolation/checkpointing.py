"""Activation checkpointing that can be differentiated twice and draws from no shared generator."""

import contextlib
import inspect
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils import checkpoint

from landscape.isolation.switches import Shared, assigned

_Context = Callable[[], contextlib.AbstractContextManager[object]]


class _Local(threading.local):
    """For each thread, one entry for every :func:`plain_checkpoints` and :class:`RecomputedIn` that it is inside."""

    def __init__(self) -> None:
        self.checkpoints: list[list[str]] = []
        self.recomputed: list[_Context] = []


_LOCAL = _Local()


def _checkpoints_by_thread() -> contextlib.AbstractContextManager[None]:
    """Patches both forms of activation checkpointing for threads inside one of the contexts of this file."""
    # Torch 2.14 has the work in a function of its own, with the same names of parameters.
    names = "CheckpointFunction", "_checkpoint_without_reentrant_generator"
    names = names[0], f"{names[1]}_impl" if hasattr(checkpoint, f"{names[1]}_impl") else names[1]
    reentrant, other = (getattr(checkpoint, name) for name in names)

    def apply(function: Callable[..., object], preserve: bool, *arguments: object) -> object:
        if not _LOCAL.checkpoints:  # a thread of the user's own
            return reentrant.apply(function, preserve, *arguments)
        _LOCAL.checkpoints[-1].append("reentrant")
        return function(*arguments)

    def other_form(*arguments: Any, **named: Any) -> object:
        # Here, because it takes longer than the rest of this context, and few networks come here.
        call = inspect.signature(other).bind(*arguments, **named)
        call.apply_defaults()
        if _LOCAL.checkpoints:
            # Preserving would set the global generators, which other threads draw from, in every backward pass.
            call.arguments["preserve_rng_state"] = False
        if _LOCAL.recomputed:
            call.arguments["fn"] = _inside(_LOCAL.recomputed[-1], call.arguments["fn"])
        return other(*call.args, **call.kwargs)

    return assigned(
        (checkpoint, names[0], types.SimpleNamespace(apply=apply, __name__="ByThread")),
        (checkpoint, names[1], other_form),
    )


def _inside(context: _Context, function: Callable[..., object]) -> Callable[..., object]:
    """The function in a context: a backward pass computes it again outside that context, or in another thread."""

    def again(*arguments: Any, **named: Any) -> object:
        with context():
            return function(*arguments, **named)

    return again


_CHECKPOINTS = Shared(_checkpoints_by_thread)


@contextlib.contextmanager
def plain_checkpoints() -> Iterator[list[str]]:
    """Reentrant activation checkpointing, which ``autograd.grad`` cannot pass, is off in this thread.

    Yields a list that gets an entry whenever a function runs without it.
    """
    met: list[str] = []
    with _CHECKPOINTS:
        _LOCAL.checkpoints.append(met)
        try:
            yield met
        finally:
            _LOCAL.checkpoints.pop()


class RecomputedIn(contextlib.AbstractContextManager[None]):
    """What activation checkpoints of this thread compute again is computed in a context, as the first time."""

    def __init__(self, context: _Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        _CHECKPOINTS.__enter__()
        _LOCAL.recomputed.append(self._context)

    def __exit__(self, *_: object) -> None:
        _LOCAL.recomputed.pop()
        _CHECKPOINTS.__exit__()
