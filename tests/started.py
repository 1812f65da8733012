"""Real processes that start at once: what they need is imported once for all of them, by a server that is forked.

A process of its own costs about eight seconds of imports.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerContext, ForkServerProcess

_IMPORTED = [
    "landscape.training.several", "landscape.surfaces.sampling", "landscape.cli.measure", "sklearn.datasets",
    "sklearn.model_selection", "torch._dynamo", "torchvision", "landscape.processes.joint", "landscape.measures",
]  # fmt: skip


def server() -> ForkServerContext:
    """How processes are started from the server, also by others than :func:`started`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def started(function, *arguments, **options) -> ForkServerProcess:
    """A process that calls a function; of a module it can import, such as this one, which a file of tests is not."""
    process = server().Process(target=function, args=arguments, kwargs=options)
    process.start()
    return process


def results(function, folder, *arguments, ranks, seconds):
    """What a function leaves as ``folder/RANK.pt`` in every one of several processes, which all end well."""
    import torch

    running = [started(function, folder, rank, ranks, *arguments) for rank in range(ranks)]
    for process in running:
        process.join(seconds)
    assert [process.exitcode for process in running] == [0] * ranks
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def hold(folder, begun):
    """Holds the lock of a run's folder until it is killed; says by a file that it does."""
    from landscape.training.lock import locked

    with locked(folder):
        begun.touch()
        signal.pause()


class Command:
    """``landscape`` with these arguments, as a process with the signals of a terminal."""

    def __init__(self, *arguments, cwd):
        self._files = [cwd / f".std{name}" for name in ("out", "err")]
        self._process = started(_command, list(map(str, arguments)), str(cwd), [str(f) for f in self._files])

    def alive(self):
        return self._process.is_alive()

    def send(self, number):
        os.kill(self._process.pid, number)

    def ended(self, seconds=60):
        """Waits for the end; returns exit code, stdout and stderr."""
        self._process.join(seconds)
        return self._process.exitcode, *[file.read_text() for file in self._files]


def _command(arguments, folder, files):
    os.chdir(folder)
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["landscape", *arguments]
    from landscape.cli import main

    main()
