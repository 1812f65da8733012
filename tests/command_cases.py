"""What one process of a command does in the tests of its failures: real processes, whose work fails as told."""

import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from started import started

from landscape.errors import InputError
from landscape.records.storage import append_line, whole

QUICK = {"BEAT": 0.1, "SILENT_BEATS": 40, "OWN_END": 0.5, "UNWINDING": 1.0, "SIGNALLED": 2.0}
"""The waiting times of the watch, shortened."""


def free_port():
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def by_torchrun(folder, arguments):
    """One process of ``landscape`` with these arguments, started by the agent of torchrun; returns the exit code."""
    try:
        process(folder, int(os.environ["RANK"]), None, None, arguments)
    except SystemExit as end:
        return end.code or 0


def process(folder, rank, world, port, arguments, fault=None, variables=None, appends=None):
    """One process of ``landscape`` with these arguments; without ``world`` as a launcher has started it.

    With ``appends`` the first one is killed when a journal is to get more points.
    """
    os.chdir(folder)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{rank}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if world is not None:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(world), **address, **(variables or {})})
    sys.argv = ["landscape", *arguments]
    from landscape.cli import main

    if fault is not None:
        _work_fails(folder, rank, fault)
    if appends is not None and rank == 0:
        _ends_after(appends)
    main()


def _ends_after(appends):
    from landscape.surfaces.journal import Journal

    append, left = Journal.append, [appends]

    def ending(self, *point):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        append(self, *point)

    Journal.append = ending


def together(folder, into, *arguments, world=2, **options):
    """Exit codes, output and messages of processes that a launcher would start."""
    into.mkdir()
    port = free_port()
    words = [str(folder / "run") if word == "run" else word for word in arguments]
    running = [started(process, into, rank, world, port, words, **options) for rank in range(world)]
    for each in running:
        each.join(120)
    texts = [
        "".join((into / f"{rank}.{kind}").read_text() for rank in range(world)) for kind in ("out", "err")
    ]
    return [each.exitcode for each in running], *texts


def _work_fails(folder, rank, fault):
    from landscape.cli import measure

    from landscape.processes import joint, monitor, rendezvous

    torch.set_num_threads(1)
    for name, seconds in QUICK.items():
        setattr(monitor, name, seconds)
    measure._of_checkpoint = lambda path, *arguments: _work(folder, rank, fault, arguments[-1])
    if fault == "alone":
        rendezvous.MEETING, rendezvous.REMARKED, rendezvous.ANNOUNCING = 1.0, 0.3, 0.1
        rendezvous.ANSWERING = 0.5
        rendezvous.store.__kwdefaults__["seconds"] = 1.0
    if fault == "version":
        own = joint.Hello.own
        joint.Hello.own = lambda gpus: replace(own(gpus), version="landscape 0.0 with torch 9")
    if fault == "late options":
        connect = socket.create_connection

        def late(place, **options):
            time.sleep(2.0 if str(place[1]) != os.environ["MASTER_PORT"] else 0.0)
            return connect(place, **options)

        socket.create_connection = late
    options = ["-M", "accuracy"]
    sys.argv += {"options": options, "late options": options, "refused": ["--no-such-flag"]}.get(fault, [])


def _work(folder, rank, fault, group):
    """Exchanges without end, and a line on disk for each; the fault comes after the third."""
    for step in range(100_000):
        group.gathered(step)
        if rank == 0:
            append_line(folder / "lines", str(step))
        if step == 2:
            (folder / f"{rank}.ready").touch()
            FAULTS.get(fault, lambda: None)()
        time.sleep(0.02)
    return []


def _raise(failure):
    raise failure


def _busy():
    """Computes what no signal stops, while the others wait in an exchange."""
    for _ in range(2):
        with contextlib.suppress(BaseException):
            time.sleep(60)


def _write():
    """Is in the middle of a file when another process fails."""
    with whole(Path("whole")) as place:
        place.write_text("half")
        time.sleep(60)


FAULTS = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "memory": lambda: _raise(MemoryError("out of memory")),
    "input": lambda: _raise(InputError("the loss is nan")),
    "internal": lambda: _raise(KeyError("weights")),
    "busy": _busy,
    "write": _write,
}
