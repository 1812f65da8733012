"""A pool of processes that train: a run that fails, or takes its process with it, does not stop the others."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.training.job import Job

_GRACE = 120.0
"""Seconds that processes are given to finish their step and save it."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    Attributes:
        index: Of the job.
        kind: ``progress``, ``warning``, ``done`` or ``failed``.
        fields: ``step``, ``steps`` and ``epoch``; ``text``; ``metrics``; ``reason``.
    """

    index: int
    kind: str
    fields: dict[str, Any]


class Pool:
    """Processes that take jobs until there are none.

    Args:
        jobs: What to train.
        processes: How many at a time.
        threads: Of each.
    """

    def __init__(self, jobs: Sequence[Job], *, processes: int, threads: int) -> None:
        self._threads = threads
        self._waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        for pair in enumerate(jobs):
            self._waiting.put(pair)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stopping = False
        self._processes: set[subprocess.Popen[str]] = set()
        self._serving = [threading.Thread(target=self._serve, daemon=True) for _ in range(processes)]

    def run(self, notice: Callable[[Event], None]) -> None:
        """Train all jobs; on SIGINT and SIGTERM every process saves its run and ends.

        Args:
            notice: Called with what happens, in this thread.
        """
        try:
            self._listen(notice)
        finally:
            self._stop()

    def _listen(self, notice: Callable[[Event], None]) -> None:
        """Pass on what happens until every process has ended.

        A function of its own: Python 3.11 leaves a hole between the jump of a loop and a ``try`` at its start, and an
        interruption that arrives there goes past a ``finally`` in the same function.
        """
        for thread in self._serving:
            thread.start()
        ended = 0
        while ended < len(self._serving):
            try:
                event = self._events.get(timeout=0.2)  # a wait without end would hold signals back
            except queue.Empty:
                continue
            if event is None:
                ended += 1
            else:
                notice(event)

    def _stop(self) -> None:
        self._stopping = True
        for process in list(self._processes):
            process.terminate()
        for thread in self._serving:
            if thread.ident is not None:  # else it was not started yet
                thread.join(_GRACE)
        for process in list(self._processes):
            process.kill()

    def _serve(self) -> None:
        """Hand out jobs to one process, and to another one when it is gone."""
        process: subprocess.Popen[str] | None = None
        try:
            while not self._stopping:
                try:
                    index, job = self._waiting.get_nowait()
                except queue.Empty:
                    return
                if process is None or process.poll() is not None:
                    process = self._started()
                if not self._served(process, index, job) and not self._stopping:
                    self._events.put(Event(index, "failed", {"reason": _ending(process)}))
        finally:
            if process is not None:
                self._ended(process)
            self._events.put(None)

    def _served(self, process: "subprocess.Popen[str]", index: int, job: Job) -> bool:
        """Whether the process lived to say how the run ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job.to_dict()) + "\n")
            process.stdin.flush()
        except OSError:
            return False
        for line in _lines(process.stdout):
            kind = line.pop("kind")
            self._events.put(Event(index, kind, line))
            if kind in ("done", "failed"):
                return True
        return False

    def _started(self) -> "subprocess.Popen[str]":
        # In a session of its own, Ctrl-C does not reach it: it is told to stop once, by us, and saves its run.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "landscape.training.worker", str(self._threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
            start_new_session=True,
        )
        self._processes.add(process)
        return process

    def _ended(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        try:
            process.stdin.close()
        except OSError:
            process.kill()
        process.wait()
        self._processes.discard(process)


def _lines(stream: Iterable[str]) -> Iterable[dict[str, Any]]:
    for text in stream:
        try:
            fields = json.loads(text)
        except ValueError:
            continue  # torn off by the end of the process
        if isinstance(fields, dict) and "kind" in fields:
            yield fields


def _ending(process: "subprocess.Popen[str]") -> str:
    """How a process ended that said nothing."""
    code = process.wait()
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    hint = " (out of memory? try --jobs 1)" if code == -signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"
