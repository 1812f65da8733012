"""The trainer: recipe, schedule, history, resume; several runs as a whole."""

from landscape.training.job import Job
from landscape.training.measured import Measuring
from landscape.training.plan import Plan, Planned, plan_runs
from landscape.training.presets import PRESETS
from landscape.training.progress import Progress
from landscape.training.recipe import Recipe
from landscape.training.run import Run
from landscape.training.several import Failure, Outcome, train_several
from landscape.training.trainer import DivergedError, train, train_job

__all__ = [
    "PRESETS",
    "DivergedError",
    "Failure",
    "Job",
    "Measuring",
    "Outcome",
    "Plan",
    "Planned",
    "Progress",
    "Recipe",
    "Run",
    "plan_runs",
    "train",
    "train_job",
    "train_several",
]
