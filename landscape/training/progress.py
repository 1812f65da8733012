"""How far a run is, for whoever shows it."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A run after one of its steps.

    Attributes:
        epoch: The epoch that is running, from 1.
        epochs: All epochs of the run.
        step: Steps done, over all epochs.
        steps: All steps of the run.
        loss: The mean training loss of this epoch so far.
        test_accuracy: Of the last complete epoch; ``None`` in the first.
        seconds_left: An estimate from the steps of this process.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    test_accuracy: float | None
    seconds_left: float


class Pace:
    """How long the rest takes, if it goes on as it has since this was made.

    Args:
        step: Steps that were already done.
        steps: All steps of the run.
    """

    def __init__(self, step: int, steps: int) -> None:
        self._first = step
        self._steps = steps
        self._start = time.monotonic()

    def seconds_left(self, step: int) -> float:
        """The estimate after ``step`` steps, of which at least one is new."""
        elapsed = time.monotonic() - self._start
        return elapsed / (step - self._first) * (self._steps - step)
