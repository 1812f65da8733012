"""How long a run takes, from some of its steps, before it is started."""

import math
import time
from collections.abc import Sized
from dataclasses import dataclass
from typing import cast

import torch

from landscape.data import Data
from landscape.isolation import preserved_randomness
from landscape.training.recipe import Recipe
from landscape.training.session import NonFiniteLossError, Session

_WARM_UP = 2
_STEPS = 10
_SECONDS = 1.0


@dataclass(frozen=True)
class Timing:
    """What one run costs.

    Attributes:
        step: Seconds.
        evaluation: Seconds on the test set, once an epoch.
        steps_per_epoch: Batches.
        gradients: Of a batch, evaluated in a step, on the mean of the timed ones.
    """

    step: float
    evaluation: float
    steps_per_epoch: int
    gradients: float

    def seconds(self, epochs: int) -> float:
        """Of so many epochs."""
        return epochs * (self.steps_per_epoch * self.step + self.evaluation)


class _Enough(Exception):
    """The test set has been looked at for long enough."""


def time_steps(recipe: Recipe, data: Data, device: torch.device) -> Timing:
    """Take some steps of a network that is thrown away.

    Args:
        recipe: Of the run.
        data: Its data, loaded.
        device: Where it will run.

    Raises:
        InputError: The data do not fit the network.
    """
    with preserved_randomness(device):
        session = Session(recipe, data, device)
        seconds: list[float] = []
        start = begun = time.monotonic()
        try:
            for _ in session.train_epoch():
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                now = time.monotonic()
                seconds.append(now - start)
                start = now
                if len(seconds) >= _WARM_UP + _STEPS or now - begun > _SECONDS:
                    break
        except NonFiniteLossError:
            pass  # the run itself will say so
        measured = seconds[_WARM_UP:] or seconds or [0.0]
        taken = max(session.optimizer.steps, 1)
        return Timing(
            step=sum(measured) / len(measured),
            evaluation=_evaluation(session) if seconds else 0.0,
            steps_per_epoch=session.steps_per_epoch,
            gradients=session.optimizer.gradient_evaluations / taken,
        )


def _evaluation(session: Session) -> float:
    """Seconds for the test set, from its first batches."""
    begun = time.monotonic()
    batches = 0

    def pause() -> None:
        nonlocal batches
        if time.monotonic() - begun > _SECONDS:
            raise _Enough
        batches += 1

    total = math.ceil(len(cast(Sized, session.data.split("test"))) / session.recipe.batch_size)
    try:
        session.finish_epoch(pause)
    except (_Enough, NonFiniteLossError):
        return (time.monotonic() - begun) / max(batches, 1) * total
    return time.monotonic() - begun
