"""Several runs together: resumable, in one process or in a pool, and no failed run stops the others."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import Remark
from landscape.training.job import Job, attempt
from landscape.training.lock import refuse_locked
from landscape.training.plan import Plan, threads_set
from landscape.training.pool import Event, Pool
from landscape.training.run import Run, RunFiles
from landscape.training.trainer import Progress


@dataclass(frozen=True)
class Failure:
    """A run that is not finished: its folder, and the reason in one line."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Outcome:
    """The result of a plan: the finished runs in its order, and the others."""

    runs: tuple[Run, ...]
    failures: tuple[Failure, ...]


Notice = Callable[[int, float, str], None]
"""Called with the number of runs that have ended, the fraction of all work done, and the name of the current run."""
OnRun = Callable[[Path, Progress | None], None]
"""Called with the folder of a run and its progress; ``None`` at its end."""


def train_several(
    plan: Plan,
    jobs: Sequence[Job],
    *,
    devices: Sequence[str] = (),
    notice: Notice | None = None,
    on_run: OnRun | None = None,
) -> Outcome:
    """Trains the runs of a plan, or continues them.

    Args:
        plan: The plan.
        jobs: Its runs, in the same order.
        devices: One for each run at a time, in place of that of the recipes, if there are several at a time.
        notice: Called with the progress of all runs together.
        on_run: Called with the progress of each run by itself.

    Raises:
        UsageError: Another process trains one of them; nothing is begun then.
        KeyboardInterrupt: SIGINT was received, and all runs saved.
        SystemExit: SIGTERM was received, and all runs saved; unless the caller's handler raises something else.
    """
    for job in jobs:
        refuse_locked(job.folder)
    results = _Results(plan, notice, on_run)
    if plan.jobs == 1:
        with threads_set(plan.threads):
            usable = True
            for index, job in enumerate(jobs):
                if usable:
                    usable = attempt(
                        job, lambda kind, index=index, **fields: results(Event(index, kind, fields))
                    )
                else:
                    reason = "not begun, because the GPU failed in an earlier run; run the command again"
                    results(Event(index, "failed", {"reason": reason}))
    else:
        Pool(jobs, processes=plan.jobs, threads=plan.threads, devices=devices).run(results)
    runs, failures = [], []
    for index, job in enumerate(jobs):
        if index in results.reasons:
            failures.append(Failure(job.folder, results.reasons[index]))
        else:
            runs.append(RunFiles(job.folder).finished(job.recipe.shortened(), results.metrics[index]))
    return Outcome(tuple(runs), tuple(failures))


class _Results:
    """Collects the events of all runs."""

    def __init__(self, plan: Plan, notice: Notice | None, on_run: OnRun | None) -> None:
        self.reasons: dict[int, str] = {}
        self.metrics: dict[int, dict[str, Any]] = {}
        self._plan = plan
        self._notice = notice
        self._on_run = on_run
        self._shares = [run.done / run.recipe.epochs for run in plan.runs]
        # Runs without a timing are finished: a weight of almost nothing, but no division by zero.
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
        if self._on_run is not None:
            now = Progress(**fields) if event.kind == "progress" else None
            self._on_run(self._plan.runs[index].folder, now)
        if self._notice is not None:
            done = sum(s * w for s, w in zip(self._shares, self._weights, strict=True)) / sum(self._weights)
            ended = len(self.reasons) + len(self.metrics)
            self._notice(ended, done, self._plan.runs[index].folder.name)
