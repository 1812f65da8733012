"""Several runs as a whole: resumable, in one process or in a pool, and no failed one stops the others."""

import dataclasses
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from landscape.data import data_name
from landscape.errors import Remark
from landscape.training.failure import is_foreseen, reason
from landscape.training.job import Job
from landscape.training.lock import refuse_locked
from landscape.training.plan import Plan
from landscape.training.pool import Event, Pool
from landscape.training.progress import Progress
from landscape.training.run import Run, RunFolder
from landscape.training.trainer import train_job


@dataclass(frozen=True)
class Failure:
    """A run that is not finished.

    Attributes:
        folder: Where it is.
        reason: In a line.
    """

    folder: Path
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of a plan.

    Attributes:
        runs: The finished ones, in its order.
        failures: The others.
    """

    runs: tuple[Run, ...]
    failures: tuple[Failure, ...]


Notice = Callable[[int, float, str], None]
"""Called with the runs that have ended, the share of all work that is done, and the run that it came from."""


def train_several(plan: Plan, jobs: Sequence[Job], *, notice: Notice | None = None) -> Outcome:
    """Train the runs of a plan, or go on with them.

    Args:
        plan: How many at a time, with how many threads.
        jobs: Its runs, in the same order.
        notice: How far all of them are.

    Raises:
        UsageError: Another process trains one of them; nothing is begun then.
        KeyboardInterrupt: SIGINT was received, and all runs saved.
        SystemExit: SIGTERM was received, and all runs saved; where it is not an exception of the caller's.
    """
    for job in jobs:
        refuse_locked(job.folder)
    told = _Told(plan, notice)
    if plan.jobs == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(plan.threads)
        try:
            for index, job in enumerate(jobs):
                _here(index, job, told)
        finally:
            torch.set_num_threads(before)
    else:
        Pool(jobs, processes=plan.jobs, threads=plan.threads).run(told)
    runs, failures = [], []
    for index, job in enumerate(jobs):
        if index in told.reasons:
            failures.append(Failure(job.folder, told.reasons[index]))
        else:
            asked = dataclasses.replace(job.recipe, data=data_name(job.recipe.data))
            runs.append(RunFolder(job.folder).finished(asked, told.metrics[index]))
    return Outcome(tuple(runs), tuple(failures))


def _here(index: int, job: Job, told: "_Told") -> None:
    def progress(at: Progress) -> None:
        told(Event(index, "progress", {"step": at.step, "steps": at.steps, "epoch": at.epoch}))

    try:
        run = train_job(job, progress=progress)
    except Exception as failure:
        if not is_foreseen(failure):
            traceback.print_exc()
        told(Event(index, "failed", {"reason": reason(failure)}))
    else:
        told(Event(index, "done", {"metrics": dict(run.metrics)}))


class _Told:
    """What has been heard of the runs."""

    def __init__(self, plan: Plan, notice: Notice | None) -> None:
        self.reasons: dict[int, str] = {}
        self.metrics: dict[int, dict[str, int | float]] = {}
        self._plan = plan
        self._notice = notice
        self._shares = [run.done / run.recipe.epochs for run in plan.runs]
        self._weights = [run.timing.seconds(run.recipe.epochs) if run.timing else 1e-9 for run in plan.runs]
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        index, fields = event.index, event.fields
        if event.kind == "warning":
            if fields["text"] not in self._warned:
                self._warned.add(fields["text"])
                warnings.warn(fields["text"], Remark, stacklevel=2)
            return
        if event.kind == "failed":
            self.reasons[index] = fields["reason"]
        elif event.kind == "done":
            self.metrics[index] = fields["metrics"]
        self._shares[index] = fields["step"] / fields["steps"] if event.kind == "progress" else 1.0
        if self._notice is not None:
            done = sum(s * w for s, w in zip(self._shares, self._weights, strict=True)) / sum(self._weights)
            ended = len(self.reasons) + len(self.metrics)
            self._notice(ended, done, self._plan.runs[index].folder.name)
