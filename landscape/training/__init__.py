"""The trainer: recipe, schedule, history, resume; and several runs together. Each name is imported on first use."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.training.job import Job as Job
    from landscape.training.job import train_job as train_job
    from landscape.training.measured import Measuring as Measuring
    from landscape.training.plan import Plan as Plan
    from landscape.training.plan import Planned as Planned
    from landscape.training.plan import plan_runs as plan_runs
    from landscape.training.plan import threads_set as threads_set
    from landscape.training.presets import PRESETS as PRESETS
    from landscape.training.recipe import Recipe as Recipe
    from landscape.training.run import Run as Run
    from landscape.training.several import Failure as Failure
    from landscape.training.several import Outcome as Outcome
    from landscape.training.several import train_several as train_several
    from landscape.training.sweep import Sweep as Sweep
    from landscape.training.sweep import read_sweep as read_sweep
    from landscape.training.sweep import write_sweep as write_sweep
    from landscape.training.trainer import DivergedError as DivergedError
    from landscape.training.trainer import Progress as Progress
    from landscape.training.trainer import train as train

_HOMES = {
    "job": ("Job", "train_job"),
    "measured": ("Measuring",),
    "plan": ("Plan", "Planned", "plan_runs", "threads_set"),
    "presets": ("PRESETS",),
    "recipe": ("Recipe",),
    "run": ("Run",),
    "several": ("Failure", "Outcome", "train_several"),
    "sweep": ("Sweep", "read_sweep", "write_sweep"),
    "trainer": ("DivergedError", "Progress", "train"),
}
__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> object:
    # The recipe alone, which has the flags of `landscape train`, is read without torch.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
