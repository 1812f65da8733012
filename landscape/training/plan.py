"""Several runs as a whole: where each goes, how far it is, how long all of them take, how many at a time."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from landscape.data import Data, data_name, load_data
from landscape.errors import InputError, UsageError
from landscape.training.budget import Budget, within_budget
from landscape.training.recipe import Recipe
from landscape.training.run import RunFolder
from landscape.training.timing import Timing, time_steps
from landscape.training.trainer import chosen_device

WORTH_A_POOL = 30.0
"""Seconds of work below which starting processes costs more than they save."""

STARTING = 5.0
"""Seconds until a process of the pool has imported what it needs."""


@dataclass(frozen=True)
class Planned:
    """One run of a plan.

    Attributes:
        recipe: Within its budget.
        folder: Where it goes.
        done: Epochs that are on disk.
        timing: What it costs; ``None`` where it is finished, or cannot be timed.
        obstacle: Why it cannot be begun; ``None`` if it can.
    """

    recipe: Recipe
    folder: Path
    done: int
    timing: Timing | None
    obstacle: str | None = None

    @property
    def seconds(self) -> float:
        """What is left of it, on a machine of its own."""
        return 0.0 if self.timing is None else self.timing.seconds(self.recipe.epochs - self.done)


@dataclass(frozen=True)
class Plan:
    """Several runs.

    Attributes:
        runs: In the order in which they are begun.
        jobs: How many at a time.
        threads: Of each.
        budget: What is equal for all.
    """

    runs: tuple[Planned, ...]
    jobs: int
    threads: int
    budget: Budget

    @property
    def seconds(self) -> float:
        """Until all are finished: no less than the longest, nor than all of them shared out."""
        start = STARTING if self.jobs > 1 else 0.0
        return start + max([sum(r.seconds for r in self.runs) / self.jobs, *(r.seconds for r in self.runs)])


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

    Threads are shared out by how many processes are asked for or could be of use, whether a pool is worth its
    start or not: what a run computes does not depend on how long it is thought to take.

    Args:
        recipes: Of the runs.
        folders: Of each, in the same order.
        budget: What is equal for all optimizers: epochs, or gradients evaluated.
        jobs: How many at a time; by default as many as there are cores, if the work is worth it.
        resume: Go on with what the folders hold.
        overwrite: Start again over what they hold.

    Raises:
        UsageError: Two runs would go to one folder, or one holds another run.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs} must be at least 1")
    twice = next((folder for folder, count in Counter(folders).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"two of the runs would go to {twice}; give them folders of their own with -o")
    on_cpu = all(chosen_device(recipe).type == "cpu" for recipe in recipes)
    most = min(len(recipes), cores() if on_cpu else 1) if jobs is None else min(jobs, len(recipes))
    threads = max(1, torch.get_num_threads() // most)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        timer = _Timer()
        runs = tuple(
            _planned(recipe, folder, timer, budget=budget, resume=resume, overwrite=overwrite)
            for recipe, folder in zip(recipes, folders, strict=True)
        )
    finally:
        torch.set_num_threads(before)
    if jobs is None and sum(run.seconds for run in runs) < WORTH_A_POOL:
        most = 1
    return Plan(runs, most, threads, budget)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Timer:
    """Timings of runs that differ in nothing but seed and length, taken once."""

    def __init__(self) -> None:
        self._data: dict[str, Data] = {}
        self._known: dict[Recipe, Timing | None] = {}

    def __call__(self, recipe: Recipe) -> Timing | None:
        alike = dataclasses.replace(recipe, seed=0, epochs=max(recipe.epochs, 1), warmup_epochs=0)
        if alike not in self._known:
            if recipe.data not in self._data:
                self._data[recipe.data] = load_data(recipe.data)
            try:
                self._known[alike] = time_steps(alike, self._data[recipe.data], chosen_device(recipe))
            except (
                RuntimeError,
                MemoryError,
            ):  # of memory, of a device: the run will say it, the others go on
                self._known[alike] = None
        return self._known[alike]


def _planned(
    recipe: Recipe, folder: Path, timer: _Timer, *, budget: Budget, resume: bool, overwrite: bool
) -> Planned:
    timing: Timing | None = None
    if budget == "gradients":
        timing = timer(recipe)
        recipe = within_budget(recipe, budget, measured=timing.gradients if timing else 1.0)
    done, obstacle = 0, None
    try:
        asked = dataclasses.replace(recipe, data=data_name(recipe.data))
        saved = RunFolder(folder).resumable(asked, resume=resume, overwrite=overwrite)
        done = 0 if saved is None else min(saved.epoch, recipe.epochs)
    except InputError as failure:
        obstacle = str(failure)
    finished = done >= recipe.epochs or obstacle is not None
    return Planned(recipe, folder, done, None if finished else timing or timer(recipe), obstacle)
