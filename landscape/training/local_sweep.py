"""A sweep on one machine: so many runs at a time, each in a job of its own that outlives whoever started it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from landscape.errors import UsageError
from landscape.training.lock import refuse_locked
from landscape.training.sweep import Sweep

_TICK = 0.2
_GRACE = 120.0
"""Seconds in which jobs may finish their step and save it."""


class Started(Protocol):
    """A job that was started."""

    def done(self) -> bool:
        """Whether it has ended."""

    def stop(self) -> None:
        """Tells it to save its run and to end."""

    def reason(self) -> str:
        """Why it failed, in one line."""


@dataclass
class LocalSweep:
    """The runs of a plan that are not finished, trained side by side.

    A run that another process trains, such as one that a killed command has left behind, is waited for.

    Attributes:
        sweep: The plan.
        start: Starts the run of an index on a device.
        slots: The device of each run that trains at the same time; ``None`` for that of the plan.
        failures: Why runs were not finished, by index.
    """

    sweep: Sweep
    start: Callable[[int, str | None], Started]
    slots: Sequence[str | None]
    failures: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        indices = range(len(self.sweep))
        self._waiting = deque(i for i in indices if self.sweep.state(i) != "finished")
        self._elsewhere: list[int] = []
        self._running: dict[int, tuple[Started, str | None]] = {}
        self._free = list(reversed(self.slots))

    @property
    def at_work(self) -> list[int]:
        """The runs that are trained now."""
        return sorted([*self._running, *self._elsewhere])

    def run(self, notice: Callable[[], None]) -> None:
        """Trains all runs and calls ``notice`` several times a second; whatever is raised, every run is saved first."""
        try:
            while self._waiting or self._running or self._elsewhere:
                self._collect()
                self._fill()
                notice()
                time.sleep(_TICK)
        finally:
            for job, _ in self._running.values():
                job.stop()
            end = time.monotonic() + _GRACE
            while time.monotonic() < end and not all(job.done() for job, _ in self._running.values()):
                time.sleep(_TICK)

    def _collect(self) -> None:
        for index in [i for i in self._elsewhere if not self._is_locked(i)]:
            self._elsewhere.remove(index)
            if self.sweep.state(index) != "finished":
                self._waiting.appendleft(index)
        for index, (job, device) in list(self._running.items()):
            if not job.done():
                continue
            del self._running[index]
            self._free.append(device)
            if self.sweep.state(index) == "finished":
                continue
            if self._is_locked(index):  # another process was quicker
                self._elsewhere.append(index)
            else:
                self.failures[index] = job.reason()

    def _fill(self) -> None:
        # A run elsewhere takes the cores and the memory of one here.
        while self._waiting and self._free and len(self._running) + len(self._elsewhere) < len(self.slots):
            index = self._waiting.popleft()
            if self._is_locked(index):
                self._elsewhere.append(index)
                continue
            device = self._free.pop()
            self._running[index] = self.start(index, device), device

    def _is_locked(self, index: int) -> bool:
        try:
            refuse_locked(self.sweep.folder(index).path)
        except UsageError:
            return True
        return False
