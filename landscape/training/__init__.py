"""The trainer: recipe, schedule, history, resume; and several runs together."""

from landscape.training.job import Job as Job
from landscape.training.job import train_job as train_job
from landscape.training.measured import Measuring as Measuring
from landscape.training.plan import Plan as Plan
from landscape.training.plan import Planned as Planned
from landscape.training.plan import plan_runs as plan_runs
from landscape.training.presets import PRESETS as PRESETS
from landscape.training.recipe import Recipe as Recipe
from landscape.training.run import Run as Run
from landscape.training.several import Failure as Failure
from landscape.training.several import Outcome as Outcome
from landscape.training.several import train_several as train_several
from landscape.training.trainer import DivergedError as DivergedError
from landscape.training.trainer import Progress as Progress
from landscape.training.trainer import train as train
