"""What one process of a command does in the tests of its failures: real processes, with work that fails as told."""

import contextlib
import os
import signal
import sys
import time
from dataclasses import replace

import torch

from landscape.errors import InputError

QUICK = {"BEAT": 0.1, "SILENT_BEATS": 10, "OWN_END": 0.3, "UNWINDING": 0.5, "SIGNALLED": 1.0}
"""The waiting times of the watch, shortened."""


def process(folder, rank, world, port, arguments, fault="", at=None, variables=None):
    """One process of ``landscape`` with these arguments; the fault is that of the process ``at``."""
    os.chdir(folder)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{rank}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(world), **address, **(variables or {})})
    sys.argv = ["landscape", *arguments]
    run(folder, rank, fault if rank == at else "")


def run(folder, rank, fault):
    """The command, with quick watches and the fault of this process."""
    from landscape.cli import main, measure
    from landscape.processes import joint, monitor

    for name, seconds in QUICK.items():
        setattr(monitor, name, seconds)
    measure._of_checkpoint = lambda path, *arguments: work(folder, rank, fault, arguments[-1])
    if fault == "version":
        own = joint.Hello.own
        joint.Hello.own = lambda gpus: replace(own(gpus), version="landscape 0.0 with torch 9")
    if fault == "options":
        sys.argv += ["-M", "accuracy"]
    if fault == "refused":
        sys.argv += ["--no-such-flag"]
    if fault == "late":
        time.sleep(2)
    main()


def work(folder, rank, fault, group):
    """Exchanges without end, until the fault of this process at the third."""
    for step in range(10_000):
        group.gathered(step)
        if step == 2:
            (folder / f"{rank}.ready").touch()
            FAULTS.get(fault, lambda: None)()
        time.sleep(0.02)
    return []


def _raise(failure):
    raise failure


def _busy():
    """Computes where no signal is handled: the others wait in an exchange, and so does the main thread for itself."""
    with contextlib.suppress(BaseException):
        time.sleep(3)
    time.sleep(60)


FAULTS = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "memory": lambda: _raise(MemoryError("out of memory")),
    "input": lambda: _raise(InputError("batch 3 holds NaN")),
    "internal": lambda: _raise(KeyError("weights")),
    "busy": _busy,
    "exit": lambda: os._exit(7),
}
