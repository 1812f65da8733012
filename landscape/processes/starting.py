"""Several processes of a command on this machine, started and ended together: ``--processes N``.

``torchrun`` does the same, but always exits with 1 and prints a report of its own. Each child has a connection to this
process: it says there why it failed, and learns from its end that nobody waits for it any more.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NamedTuple

from landscape.errors import UsageError
from landscape.processes.launch import launch
from landscape.processes.monitor import OWN_END, SIGNALLED, TERMINATED, UNWINDING, Failure, Link
from landscape.processes.rendezvous import LISTENER

_PROGRAM = [sys.executable, "-m", "landscape"]
_PARENT = "LANDSCAPE_PARENT"
_REST = OWN_END + UNWINDING + 1.0  # seconds for the others to end by themselves after one did badly
_KILLED = 2.0  # seconds from SIGTERM to SIGKILL
_SIGNALLED = SIGNALLED + OWN_END + UNWINDING + 2.0  # seconds for all to end after a signal
_LOOK = 0.05
_adopted: list[socket.socket] = []


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    link: Link


def parent() -> socket.socket | None:
    """The connection to the process that started this one by :func:`run_processes`; ``None`` if none did."""
    # A program that this process starts must not take itself for a child too.
    number = os.environ.pop(_PARENT, None)
    if number is not None:
        _adopted[:] = [socket.socket(fileno=int(number))]
        _adopted[0].set_inheritable(False)  # nothing that this process leaves behind may seem to be it
    return _adopted[0] if _adopted else None


def starts(count: int | None) -> bool:
    """Whether this process has to start ``--processes`` of them rather than to do the work itself.

    Raises:
        UsageError: Another program has started several already.
    """
    here = launch()
    if here is not None and count is not None and parent() is None:
        raise UsageError(
            f"--processes {count} starts processes, and {here.program} has started {here.world} ({here.variable}="
            f"{here.world}): leave one of the two out"
        )
    return here is None and count is not None and count > 1


def run_processes(count: int, argv: Sequence[str]) -> int:
    """Runs ``landscape`` with these arguments in several processes on this machine, and waits for all of them.

    The first has this process's output and error stream. If one fails, all are ended and one message is printed.

    Args:
        count: How many processes.
        argv: The arguments of each, without the program.

    Returns:
        The exit code: 0 if all ended well, else that of the failure.

    Raises:
        KeyboardInterrupt: SIGINT arrived here and ended the processes.
    """
    if sys.platform == "win32":
        raise UsageError("--processes is not available on Windows: leave it out")
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        received = stack.enter_context(_passed_on(children := []))
        for child in _started(count, argv):
            children.append(child)
            if received:  # before this one was there
                child.process.send_signal(signal.SIGTERM)
        failure, codes = _ended(children, received)
    if not any(codes):
        return 0
    if received:
        signal.raise_signal(received[0])  # whoever began this process says so, once
    sys.stderr.write(f"{failure.text}\n")
    return failure.code


def _started(count: int, argv: Sequence[str]) -> Iterator[_Child]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
        world = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        for rank in range(count):
            here, there = socket.socketpair()
            with there:
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank), _PARENT: str(there.fileno())}
                if rank == 0:
                    own[LISTENER] = str(listener.fileno())
                output = None if rank == 0 else subprocess.DEVNULL
                process = subprocess.Popen(
                    [*_PROGRAM, *argv],
                    env={**os.environ, **place, **world, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[there.fileno(), *([listener.fileno()] if rank == 0 else [])],
                    start_new_session=True,  # signals of the terminal reach this process alone, and once
                )
            yield _Child(process, Link(here))


@contextlib.contextmanager
def _passed_on(children: list[_Child]) -> Iterator[list[int]]:
    """A context in which a signal ends the children, the second one at once; yields those that arrived."""
    received: list[int] = []

    def act(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for child in children:
            child.process.send_signal(signal.SIGTERM if len(received) == 1 else signal.SIGKILL)

    # A shell makes its background processes ignore signals; that stays so.
    heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, act) for number in heard}
    try:
        yield received
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()
            child.link.socket.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(children: Sequence[_Child], received: Sequence[int]) -> tuple[Failure, list[int]]:
    """Waits for the end of all processes; returns what to say if one ended badly, and the exit codes."""
    said: list[Failure] = []
    bad: dict[int, int] = {}  # by rank, in the order of their ends, without those that were ended from here
    begun: float | None = None  # of the end of all
    means = [signal.SIGTERM, signal.SIGKILL]
    with selectors.DefaultSelector() as selector:

        def heard(seconds: float) -> list[Failure]:
            # What is ended from here because another one failed only says that it was.
            found = _heard(selector, seconds)
            return [each for each in found if len(means) == 2 or received or each.code != TERMINATED]

        for child in children:
            selector.register(child.link.socket, selectors.EVENT_READ, child.link)
        while any(child.process.poll() is None for child in children):
            said += heard(_LOOK)
            if len(means) == 2:
                ends = {rank: child.process.poll() for rank, child in enumerate(children)}
                bad |= {rank: code for rank, code in ends.items() if code}
            if begun is None and (bad or received):
                begun = time.monotonic()
            # After a signal, which has been passed on, training still completes its step.
            rest = _SIGNALLED if received else _REST if len(means) == 2 else _REST + _KILLED
            if begun is not None and means and time.monotonic() - begun > rest:
                means = means[-1:] if received else means
                for child in children:
                    child.process.send_signal(means[0])
                means = means[1:]
        said += heard(0)
        codes = {rank: child.process.returncode for rank, child in enumerate(children)}
    if len(means) == 2:
        bad |= {rank: code for rank, code in codes.items() if code}
    return _reason(said, bad, len(children)), list(codes.values())


def _heard(selector: selectors.BaseSelector, seconds: float) -> list[Failure]:
    """What children say within some seconds."""
    failures = []
    while events := selector.select(seconds):
        for key, _ in events:
            messages = key.data.messages()
            if messages is None:
                selector.unregister(key.fileobj)
            failures += [Failure(*(each[field] for field in Failure._fields)) for each in messages or ()]
        seconds = 0
    return failures


def _reason(said: Sequence[Failure], bad: dict[int, int], world: int) -> Failure:
    """The message for all: what a process says of itself, the first one's first; else what became of one."""
    own = sorted((failure for failure in said if not failure.lost), key=lambda failure: failure.rank != 0)
    killed = [Failure(rank, 1, _killed(rank, world, -code)) for rank, code in bad.items() if code < 0]
    silent = [
        Failure(rank, code, f"Error: process {rank} of {world} ended with exit code {code} and said nothing")
        for rank, code in bad.items()
    ]
    return next(iter([*own, *killed, *said, *silent]), Failure(0, 1, "Error: the processes ended"))


def _killed(rank: int, world: int, number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = {"SIGKILL": " (out of memory?)"}.get(name, "")
    return f"Error: process {rank} of {world} was ended by {name}{hint}; what is finished is on disk"
