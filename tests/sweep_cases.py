"""A sweep that is launched, in a process that starts at once."""

import time

from started import Command


def epochs_done(folder):
    """The complete epochs of every run in a folder, by name."""
    return {file.parent.name: file.read_bytes().count(b"\n") for file in folder.glob("*/history.jsonl")}


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
