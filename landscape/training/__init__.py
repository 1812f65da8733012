"""The trainer: recipe, schedule, history, resume."""

from landscape.training.measured import Measuring
from landscape.training.presets import PRESETS
from landscape.training.progress import Progress
from landscape.training.recipe import Recipe
from landscape.training.run import Run
from landscape.training.trainer import DivergedError, train

__all__ = ["PRESETS", "DivergedError", "Measuring", "Progress", "Recipe", "Run", "train"]
