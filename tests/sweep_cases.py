"""A sweep that is launched and killed, in processes that started at once."""

import contextlib
import os
import signal
import time

from started import Command


def epochs_done(folder):
    """The complete epochs of every run in a folder, by name."""
    return {file.parent.name: file.read_bytes().count(b"\n") for file in folder.glob("*/history.jsonl")}


def trained_by(folder):
    """The processes that train in a folder."""
    for lock in folder.glob("*/.lock"):
        with contextlib.suppress(OSError, ValueError):
            yield int(lock.read_text())


def launched_until(run, middle, *arguments, cwd, runs):
    """A launch of a sweep that has trained two more epochs of a run, which is not finished."""
    before = epochs_done(runs).get(run, 0)
    command = Command(*arguments, cwd=cwd)
    end = time.monotonic() + 240
    while not before + 1 < epochs_done(runs).get(run, 0) < middle:
        assert command.alive(), command.ended()
        assert time.monotonic() < end
        time.sleep(0.005)
    return command


def kill(command, *, runs=None):
    """SIGKILL for the launching command, and then for the runs in a folder."""
    command.send(signal.SIGKILL)
    command.ended()
    for process in [] if runs is None else list(trained_by(runs)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
