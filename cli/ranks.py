"""One of several processes of a command: only the first one prints, and a failure of any is one message."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

import click

from landscape.errors import UsageError
from landscape.processes.launch import Launch, launch
from landscape.processes.monitor import Failure, placed
from landscape.processes.starting import parent, run_processes
from landscape.processes.watching import current, watched

from .terminal import PlainStream, clear_note

_JOINT = {"measure", "train"}
_REFUSED = {"barriers", "compare", "verify", "demo"}
"""Commands whose processes would all print the same; those of other commands may each have work of their own."""


class Several(contextlib.AbstractContextManager["Several"]):
    """What the command line does in one of several processes, from the moment when the command is known.

    Args:
        interrupted: The message of a signal, given the exit code.
    """

    def __init__(self, interrupted: Callable[[int], str]) -> None:
        self._interrupted = interrupted
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Several":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, command: str, *, joint: bool = False) -> None:
        """Silences all processes but the first, and begins the watch if they compute together.

        Args:
            command: The name of the command.
            joint: Whether they compute together, where the name does not say so but flags do.
        """
        here, above = launch(), parent()
        joint |= command in _JOINT
        if here is None or current() is not None or (above is None and not joint and command not in _REFUSED):
            return
        if here.rank >= here.world:  # nobody waits for it, and only the first one would print why it ends
            raise UsageError(
                f"this is process {here.rank} of {here.world} ({here.variable}={here.world}), which are numbered from "
                f"0 to {here.world - 1}: start each with a number of its own among these"
            )
        # Before torch is loaded: every lost connection would be a page of stack frames beside the one message.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
        say = _printed
        if here.rank:
            stream = self._stack.enter_context(_silence())
            say = lambda text: print(text, file=PlainStream(stream), flush=True)  # noqa: E731
        if above is not None or joint:
            self._stack.enter_context(watched(here, say=say, interrupted=self._interrupted, parent=above))

    def leave(self, code: int) -> None:
        """Ends the process at once after a failure, when the clean-up of torch would wait for the others."""
        watch = current()
        if code and watch is not None and watch.is_joined:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def in_processes(count: int) -> int:
    """Runs this command in several processes, whose first one goes on with the terminal; returns the exit code."""
    clear_note()
    return run_processes(count, sys.argv[1:])


def ended(text: str, code: int, *, follows: bool = False) -> int:
    """Prints why the command ends, once for all its processes, which end too; returns the exit code.

    Args:
        text: The message.
        code: The exit code.
        follows: Whether it may have failed only because another process did.
    """
    watch, here = current(), launch()
    if watch is None or here is None:
        click.echo(text, err=True)
        return code
    met = watch.is_joined or watch.has_parent
    code = watch.end(code, text, follows=follows)
    if not met:
        _announce(here, text, code)
    return code


def _announce(here: Launch, text: str, code: int) -> None:
    from landscape.processes.rendezvous import announce

    watch = current()
    assert watch is not None
    announce(here, watch, Failure(here.rank, code, placed(text, *here[:2])))


def _printed(text: str) -> None:
    click.echo(text, err=True)


@contextlib.contextmanager
def _silence() -> Iterator[TextIO]:
    """A context in which nothing is printed, by torch's own code neither; yields the error stream of before."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = sys.stdout, sys.stderr
    saved = [os.dup(number) for number in (1, 2)]
    with (
        open(os.devnull, "w") as nowhere,
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace") as spare,
    ):
        try:
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
            sys.stdout = sys.stderr = nowhere
            yield spare
        finally:
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            sys.stdout, sys.stderr = before
