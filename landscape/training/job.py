"""One run as a message in JSON's types, and what a process does with it: train, and report what happens."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landscape.errors import InputError, OutOfMemory, UsageError, device_failure, is_out_of_memory
from landscape.tracking import TRACKERS
from landscape.training.measured import Measuring
from landscape.training.recipe import Recipe
from landscape.training.run import Run
from landscape.training.trainer import DivergedError, OnProgress, Progress, train

_SECONDS_BETWEEN_REPORTS = 0.25


@dataclass(frozen=True)
class Job:
    """A run to be trained; ``resume``, ``overwrite``, ``save_every`` and ``measuring`` as for :func:`train`.

    Attributes:
        recipe: What to train.
        folder: The folder of the run.
        trackers: Names of trackers, with options.
    """

    recipe: Recipe
    folder: Path
    resume: bool = True
    overwrite: bool = False
    save_every: int | None = None
    measuring: Measuring | None = None
    trackers: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """The job in JSON's types."""
        return {**asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Job":
        """The job that :meth:`to_dict` wrote."""
        measuring = fields["measuring"]
        converted = {
            "recipe": Recipe.from_dict(fields["recipe"]),
            "folder": Path(fields["folder"]),
            "measuring": measuring and Measuring(**measuring),
            "trackers": tuple(fields["trackers"]),
        }
        return cls(**{**fields, **converted})


def train_job(
    job: Job,
    *,
    progress: OnProgress | None = None,
    assumed: Callable[[Sequence[str]], None] | None = None,
) -> Run:
    """Trains the run of a job; see :func:`train`."""
    return train(
        job.recipe,
        output=job.folder,
        resume=job.resume,
        overwrite=job.overwrite,
        save_every=job.save_every,
        measuring=job.measuring,
        trackers=[TRACKERS.build(name) for name in job.trackers],
        progress=progress,
        assumed=assumed,
    )


def attempt(job: Job, report: Callable[..., None]) -> bool:
    """Trains the run of a job; ``report`` is called with ``"progress"``, and ``"done"`` or ``"failed"`` at the end.

    Returns:
        Whether this process can train further runs; ``failed`` says so as ``usable``.
    """
    last = 0.0

    def progress(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS_BETWEEN_REPORTS or now.step == now.steps:
            last = time.monotonic()
            report("progress", **asdict(now))

    try:
        run = train_job(job, progress=progress)
    except BrokenPipeError:  # whoever reads the reports is gone
        raise
    except Exception as failure:
        usable = device_failure(failure) is None
        report("failed", reason=_reason(failure), usable=usable)
        return usable
    report("done", metrics=dict(run.metrics))
    return True


def _reason(failure: Exception) -> str:
    """Why a run failed, in one line; what nobody foresaw is also shown with its traceback."""
    text = " ".join(str(failure).split())
    if (reason := device_failure(failure)) is not None:
        return reason
    if isinstance(failure, (InputError, UsageError, DivergedError, OutOfMemory)):
        return text
    if is_out_of_memory(failure):
        return "out of memory; try a smaller batch (-b 32) or fewer at a time (--jobs 1)"
    if isinstance(failure, OSError):
        return f"{failure.filename}: {failure.strerror}" if failure.filename else text
    traceback.print_exception(failure)
    return f"{type(failure).__name__}: {text}" if text else type(failure).__name__
