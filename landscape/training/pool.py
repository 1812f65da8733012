"""A pool of processes that train: a run that fails, or takes its process with it, does not stop the others."""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.training.job import Job

_GRACE = 120.0
"""Seconds in which processes may finish their step and save it."""


@dataclass(frozen=True)
class Event:
    """What happened to the run of a job: ``progress``, ``warning``, ``done`` or ``failed``, with its fields."""

    index: int
    kind: str
    fields: dict[str, Any]


class Pool:
    """Processes, with ``threads`` threads each, that take jobs until there are none.

    With ``devices``, a process trains all of its jobs on one of these, and the next one on the next.
    """

    def __init__(
        self, jobs: Sequence[Job], *, processes: int, threads: int, devices: Sequence[str] = ()
    ) -> None:
        self._threads = threads
        self._waiting = iter(list(enumerate(jobs)))
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stopping = False
        self._processes: set[subprocess.Popen[str]] = set()
        places = [devices[place % len(devices)] if devices else None for place in range(processes)]
        self._serving = [threading.Thread(target=self._serve, args=(p,), daemon=True) for p in places]

    def run(self, notice: Callable[[Event], None]) -> None:
        """Trains all jobs and calls ``notice`` in this thread; on SIGINT and SIGTERM every process saves its run."""
        try:
            self._listen(notice)
        finally:
            self._stopping = True
            for process in list(self._processes):
                process.terminate()
            for thread in self._serving:
                if thread.ident is not None:  # else it was not started yet
                    thread.join(_GRACE)
            for process in list(self._processes):
                process.kill()

    # A function of its own, because Python 3.11 leaves a gap between the jump of a loop and a `try` at its start: an
    # interruption that arrives there bypasses a `finally` of the same function.
    def _listen(self, notice: Callable[[Event], None]) -> None:
        for thread in self._serving:
            thread.start()
        ended = 0
        while ended < len(self._serving):
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=0.2)  # waiting without a timeout would delay signals
                if event is None:
                    ended += 1
                else:
                    notice(event)

    def _serve(self, device: str | None) -> None:
        """Passes jobs to one process, and to another one if that has died."""
        process: subprocess.Popen[str] | None = None
        try:
            # next() of a list's iterator is atomic, so that no job is taken by two threads.
            for index, job in self._waiting:
                if self._stopping:
                    return
                if device is not None:
                    job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, device=device))
                if process is None or process.poll() is not None:
                    process = self._started()
                if not self._served(process, index, job) and not self._stopping:
                    self._events.put(Event(index, "failed", {"reason": _ending(process)}))
        finally:
            if process is not None:
                process.communicate()  # closes its standard input, at which it ends
                self._processes.discard(process)
            self._events.put(None)

    def _served(self, process: "subprocess.Popen[str]", index: int, job: Job) -> bool:
        """Whether the process survived to report the end of the run."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job.to_dict()) + "\n")
            process.stdin.flush()
        except OSError:
            return False
        for report in _reports(process.stdout):
            kind = report.pop("kind")
            self._events.put(Event(index, kind, report))
            if kind in ("done", "failed"):
                if not report.get("usable", True):
                    process.wait()  # it ends by itself, and the next run gets a new one
                return True
        return False

    def _started(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "landscape.training.worker", str(self._threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
            # In its own session Ctrl-C does not reach it: it is stopped once, by the pool, and saves its run.
            start_new_session=True,
        )
        self._processes.add(process)
        return process


def _reports(stream: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in stream:
        try:
            fields = json.loads(line)
        except ValueError:
            continue  # torn by the end of the process
        if isinstance(fields, dict) and "kind" in fields:
            yield fields


def _ending(process: "subprocess.Popen[str]") -> str:
    """How a process ended that reported no end of its run."""
    code = process.wait()
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    hint = " (out of memory? try --jobs 1)" if code == -signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"
