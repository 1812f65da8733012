"""Switches of the whole process, for what torch and Python cannot switch in one thread.

The first thread that needs one turns it and the last that leaves turns it back, so that threads may measure at once; a
thread of the user's own sees it turned meanwhile.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any


class Shared(contextlib.AbstractContextManager[None]):
    """A switch of the whole process, turned by the contexts that ``turn`` makes as long as any thread is inside."""

    def __init__(self, turn: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self._inside = 0
        self._turned = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._turned.enter_context(self._turn())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._turned.close()


@contextlib.contextmanager
def assigned(*settings: tuple[Any, str, object]) -> Iterator[None]:
    """Sets attributes, given as ``(owner, name, value)``, and restores them."""
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


no_warnings = Shared(lambda: warnings.catch_warnings(action="ignore"))
"""No warning is printed; Python's filters belong to the process."""
