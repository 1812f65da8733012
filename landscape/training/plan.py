"""Several runs as a plan: the folder of each, how much of it is done, how long all take, and how many at a time."""

import contextlib
import dataclasses
import functools
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from landscape.data import load_data
from landscape.errors import InputError, UsageError
from landscape.isolation.randomness import preserved_randomness
from landscape.optim import OPTIMIZERS
from landscape.training.recipe import Budget, Recipe
from landscape.training.run import RunFiles
from landscape.training.session import NonFiniteLossError, Session
from landscape.training.subject import Subject, subject_of
from landscape.training.trainer import device_of

# Seconds of work below which starting processes costs more than they save.
WORTH_A_POOL = 30.0
# Seconds until a process of the pool has imported what it needs.
STARTING = 5.0
# The first steps allocate memory and choose kernels, so they are not timed.
_WARM_UP, _STEPS, _SECONDS = 2, 10, 1.0


@dataclass(frozen=True)
class Timing:
    """The cost of a run: seconds per step and per evaluation on the test set, and gradients of a batch per step."""

    step: float
    evaluation: float
    steps_per_epoch: int
    gradients: float

    def seconds(self, epochs: int) -> float:
        """The time of so many epochs."""
        return epochs * (self.steps_per_epoch * self.step + self.evaluation)


@dataclass(frozen=True)
class Planned:
    """One run of a plan.

    Attributes:
        recipe: Its recipe, within the budget.
        folder: Its folder.
        done: Epochs that are on disk.
        timing: Its cost; ``None`` if it is finished or cannot be timed.
        obstacle: Why it cannot be started; ``None`` if it can.
    """

    recipe: Recipe
    folder: Path
    done: int
    timing: Timing | None
    obstacle: str | None = None

    @property
    def seconds(self) -> float:
        """The time it still takes if nothing else runs."""
        return 0.0 if self.timing is None else self.timing.seconds(self.recipe.epochs - self.done)


@dataclass(frozen=True)
class Plan:
    """Several runs in the order in which they start, ``jobs`` at a time with ``threads`` each, on one budget.

    ``notes`` are what was assumed about their data, a line each.
    """

    runs: tuple[Planned, ...]
    jobs: int
    threads: int
    budget: Budget
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """The time until all are finished: at least the longest run, and at least the total divided by ``jobs``."""
        each = [run.seconds for run in self.runs]
        return (STARTING if self.jobs > 1 else 0.0) + max([sum(each) / self.jobs, *each])


def plan_runs(
    recipes: Sequence[Recipe],
    folders: Sequence[Path],
    *,
    budget: Budget = "epochs",
    jobs: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
) -> Plan:
    """The plan of several runs; nothing on disk is changed.

    Args:
        recipes: The recipes of the runs.
        folders: Their folders, in the same order.
        budget: What is equal for all optimizers: epochs, or gradients evaluated.
        jobs: The number of runs at a time; by default one per core, if the work is worth it.
        resume: Continue the runs in the folders.
        overwrite: Start again over the runs in the folders.

    Raises:
        UsageError: Two runs have the same folder, or a folder holds another run.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs} must be at least 1")
    twice = next((folder for folder, count in Counter(folders).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"two of the runs would go to {twice}; give them folders of their own with -o")
    # Several processes would share one accelerator, and its memory.
    on_cpu = all(device_of(recipe).type == "cpu" for recipe in recipes)
    most = min(len(recipes), (cores() if on_cpu else 1) if jobs is None else jobs)
    # The threads of a run do not depend on whether a pool is worth its start: what it computes must not depend on a
    # forecast.
    threads = max(1, torch.get_num_threads() // most)
    data, notes = functools.cache(load_data), dict[str, None]()

    @functools.cache
    def timed(recipe: Recipe) -> Timing | None:
        try:
            subject = subject_of(recipe, data=None if recipe.task else data(recipe.data))
            notes.update(dict.fromkeys(subject.data.notes))
            return time_steps(recipe, subject, device_of(recipe))
        except (RuntimeError, MemoryError):  # the run itself will report it, and the others continue
            return None

    def planned(recipe: Recipe, files: RunFiles) -> Planned:
        # Runs that differ only in the seed are timed once.
        alike = dataclasses.replace(recipe, seed=0, warmup_epochs=0)
        if budget == "gradients":
            timing = timed(alike)
            recipe = within_budget(recipe, measured=timing.gradients if timing else 1.0)
        done, obstacle = 0, None
        try:
            saved = files.resumable(recipe.shortened(), resume=resume, overwrite=overwrite)
            done = 0 if saved is None else min(saved.epoch, recipe.epochs)
        except InputError as failure:
            obstacle = str(failure)
        finished = done >= recipe.epochs or obstacle is not None
        return Planned(recipe, files.path, done, None if finished else timed(alike), obstacle)

    with threads_set(threads):
        runs = tuple(
            planned(recipe, RunFiles(folder)) for recipe, folder in zip(recipes, folders, strict=True)
        )
    if jobs is None and sum(run.seconds for run in runs) < WORTH_A_POOL:
        most = 1
    return Plan(runs, most, threads, budget, tuple(notes))


def within_budget(recipe: Recipe, *, measured: float) -> Recipe:
    """The recipe with as many epochs as the budget of an optimizer that evaluates one gradient per step allows.

    An optimizer that needs two gradients has half as many epochs, and a warm-up half as long.

    Args:
        recipe: The recipe with the epochs of the budget.
        measured: Gradients per step, for an optimizer whose options do not decide them.
    """
    row = OPTIMIZERS.row(OPTIMIZERS.parse(recipe.optimizer).name)
    cost = row.gradients(OPTIMIZERS.settings(recipe.optimizer)) or measured
    epochs = max(1, round(recipe.epochs / cost))
    warmup = min(epochs - 1, round(recipe.warmup_epochs / cost))
    return dataclasses.replace(recipe, epochs=epochs, warmup_epochs=warmup)


def time_steps(recipe: Recipe, subject: Subject, device: torch.device) -> Timing:
    """The cost of a run, from a few steps of a network that is then thrown away.

    Raises:
        InputError: The data do not fit the network.
    """
    with preserved_randomness(device):
        session = Session(recipe, subject, device)
        seconds: list[float] = []
        start = begun = time.monotonic()
        # A loss that is not finite is reported by the run itself.
        with contextlib.suppress(NonFiniteLossError):
            for _ in session.train_epoch():
                if device.type == "cuda":
                    torch.cuda.synchronize(device)  # else only the launch of kernels is timed
                now = time.monotonic()
                seconds.append(now - start)
                start = now
                if len(seconds) >= _WARM_UP + _STEPS or now - begun > _SECONDS:
                    break
    timed = seconds[_WARM_UP:] or seconds or [0.0]
    step = sum(timed) / len(timed)
    gradients = session.optimizer.gradient_evaluations / max(session.optimizer.steps, 1)
    batches = math.ceil(len(cast(Sized, session.data.split("test"))) / recipe.batch_size)
    # A forward pass is counted as a third of a gradient everywhere.
    evaluation = batches * step / max(gradients, 1.0) / 3
    return Timing(step, evaluation, session.steps_per_epoch, gradients)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads_set(count: int) -> Iterator[None]:
    """A context in which torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
