"""The processes that compute the surfaces of one ``landscape surface`` together: tasks of a scheduler, or started here.

Each is the same command. Those that are started here are its assistants: they compute points until none are left, say
nothing, and write no result. The processes meet in a folder beside each output and need no other connection.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from landscape.errors import UsageError
from landscape.processes.task import local_number, task_count
from landscape.surfaces.shared import Shared
from landscape.tables.escaping import visible

from .failures import Terminated
from .surface_files import journal_of, work_of

_PARENT = "LANDSCAPE_SURFACE_PARENT"
_GRACE = 20.0  # seconds in which a process that is stopped may finish the batch that it computes


@dataclass(frozen=True)
class Team:
    """Which processes compute the surfaces of this command.

    Attributes:
        workers: How many are expected; ``None`` if a scheduler does not say.
        started: How many work on this machine for this command, itself included: ``--processes``.
        task: Whether this is a task of a scheduler: ``--shard auto``.
        parent: The process that has started this one as its assistant.
    """

    workers: int | None = 1
    started: int = 1
    task: bool = False
    parent: int | None = None

    @classmethod
    def of(cls, *, auto: bool, processes: int | None) -> "Team":
        """The team that the flags ``--shard auto`` and ``--processes`` describe."""
        parent = os.environ.get(_PARENT, "") if auto else ""
        if parent.isdecimal():
            return cls(workers=task_count(), parent=int(parent))
        if auto and processes is not None:
            raise UsageError(
                "--shard auto is for tasks that a scheduler starts, and --processes starts them here; give one"
            )
        if auto:
            return cls(workers=task_count(), task=True)
        return cls(workers=processes or 1, started=processes or 1)

    @property
    def assists(self) -> bool:
        """Whether this process computes points for another one, and writes no results."""
        return self.parent is not None

    def require_common(self, *, resume: bool, overwrite: bool) -> None:
        """Refuses what one task would do to the results of the others."""
        if self.task and (overwrite or not resume):
            flag = "--overwrite" if overwrite else "--no-resume"
            raise UsageError(
                f"--shard auto {flag}: a task that starts late would throw away the work of the others; remove the old "
                "output and its .work folder before the tasks are started"
            )

    def device(self, name: str) -> str:
        """The device of that name, where several GPUs are one each for the processes of a machine."""
        number = 0 if self.started > 1 else local_number() if self.task or self.assists else None
        if number is None or name not in ("auto", "cuda"):
            return name
        import torch

        count = torch.cuda.device_count()
        return f"cuda:{number % count}" if count > 1 else name

    @contextlib.contextmanager
    def folders(self, files: Sequence[Path]) -> Iterator[list[Shared | None]]:
        """The folder of each surface; ``None`` if this process computes alone, and nobody before it did otherwise."""
        together = self.task or self.assists or self.started > 1
        if not (together or any(work_of(file).is_dir() for file in files)):
            yield [None for _ in files]
            return
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(
                    Shared(
                        work_of(file),
                        workers=self.workers,
                        create=not self.assists,
                        journal=journal_of(file),
                    )
                )
                for file in files
            ]

    @contextlib.contextmanager
    def assistants(self) -> Iterator["Assistants"]:
        """Starts the other processes of ``--processes``, and ends them at the end."""
        if self.started == 1:
            yield Assistants(self.parent, 1)
            return
        import torch

        before = torch.get_num_threads()
        threads = max(1, before // self.started)
        torch.set_num_threads(threads)
        assistants = Assistants(self.parent, self.started)
        try:
            assistants.start(threads)
            yield assistants
        finally:
            assistants.stop()
            torch.set_num_threads(before)


class Assistants:
    """The processes that this one has started; none, if ``count`` is 1."""

    def __init__(self, parent: int | None, count: int) -> None:
        self._parent = parent
        self._count = count
        self._processes: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        self._reported: set[int] = set()

    def start(self, threads: int) -> None:
        """Starts them as this command, with so many threads each."""
        for number in range(1, self._count):
            errors = tempfile.TemporaryFile()  # noqa: SIM115  it is read after the process has ended
            process = subprocess.Popen(
                # After the name of the command, as the arguments may end in -- and names.
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "landscape",
                    sys.argv[1],
                    "--shard",
                    "auto",
                    "-q",
                    *sys.argv[2:],
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(threads),
                    "RANK": str(number),
                    "LOCAL_RANK": str(number),
                    "WORLD_SIZE": str(self._count),
                    _PARENT: str(os.getpid()),
                },
                # In a session of its own Ctrl-C does not reach it: this process stops it, once.
                start_new_session=True,
            )
            self._processes.append((process, errors))

    def look(self) -> None:
        """Says which have ended before their time; ends this process if it is an assistant without its parent."""
        if self._parent is not None and os.getppid() != self._parent:
            raise Terminated
        for number, (process, errors) in enumerate(self._processes, start=2):
            code = process.poll()
            if code and number not in self._reported:
                self._reported.add(number)
                words = visible(_ending(code, errors))
                click.echo(f"process {number} of {self._count} {words}; the others do its work", err=True)

    def stop(self) -> None:
        """Ends them; what they have computed is on disk."""
        for process, _ in self._processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + _GRACE
        for process, errors in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            errors.close()


def _ending(code: int, errors: IO[bytes]) -> str:
    """How a process ended that was not to end."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}{' (out of memory?)' if -code == signal.SIGKILL else ''}"
    errors.seek(0)
    lines = [line for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1].removeprefix("Error: ")[:300] if lines else f"exit code {code}"
    return f"failed ({last})"
