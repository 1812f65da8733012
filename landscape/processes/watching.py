"""The watch of this process, if it is one of several that a launcher started for a command."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator

from landscape.processes.launch import Launch
from landscape.processes.monitor import Watch

_watches: list[Watch] = []


def current() -> Watch | None:
    """The watch, if there is one."""
    return _watches[-1] if _watches else None


def _printed(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _interrupted(code: int) -> str:
    return f"Error: ended by signal {code - 128}"


@contextlib.contextmanager
def watched(
    here: Launch,
    *,
    say: Callable[[str], None] = _printed,
    interrupted: Callable[[int], str] = _interrupted,
    parent: socket.socket | None = None,
) -> Iterator[Watch]:
    """A context with a watch: the one that surrounds it, or a new one with the arguments of :class:`Watch`."""
    if _watches:
        yield _watches[-1]
        return
    watch = Watch(here.rank, here.world, say=say, interrupted=interrupted, parent=parent)
    watch.start()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
        watch.stop()
