"""The losses and correct predictions of an epoch, which stay on the device until somebody needs a number."""

from collections.abc import Mapping

import torch
from torch import Tensor

from landscape.processes.group import ALONE, Group
from landscape.reductions import numbers


class Sums:
    """Sums over examples.

    Args:
        totals: What :meth:`totals` returned; ``None`` for no example yet.
    """

    def __init__(self, totals: Mapping[str, float] | None = None) -> None:
        self._totals = dict(totals or {"loss": 0.0, "correct": 0.0, "examples": 0.0})
        self._own = dict.fromkeys(self._totals, 0.0)  # of this process, not yet added
        self._waiting: list[tuple[Tensor, Tensor | None, int, int, bool]] = []
        self._is_scored = True

    def add(
        self,
        loss: Tensor,
        correct: Tensor | None,
        *,
        examples: int,
        weight: int | None = None,
        is_whole: bool = True,
    ) -> None:
        """Adds a batch without reading it.

        Args:
            loss: Its mean loss, 0-dim.
            correct: The number of correct predictions, 0-dim, of this process's examples; ``None`` without class
                scores.
            examples: The number of its examples.
            weight: The factor of the loss; by default the number of examples.
            is_whole: Whether loss and examples are those of all processes, not of this one alone.
        """
        self._waiting.append((loss, correct, examples, examples if weight is None else weight, is_whole))

    def read(self) -> list[float]:
        """The losses that were added since the last reading; waits for the device if there are any."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        losses = numbers(*(loss for loss, *_ in waiting))
        scored = [correct for _, correct, *_ in waiting if correct is not None]
        # Added up on the host in double precision, step after step, so that no number depends on when it is read.
        for loss, (_, _, examples, weight, is_whole) in zip(losses, waiting, strict=True):
            sums = self._totals if is_whole else self._own
            sums["loss"] += loss * weight
            sums["examples"] += examples
        self._own["correct"] += sum(numbers(*scored))
        self._is_scored = self._is_scored and len(scored) == len(waiting)
        return losses

    def gather(self, group: Group = ALONE) -> None:
        """Adds what every process has read of its own examples, so that all have the same sums."""
        names = list(self._own)
        packed = [*self._own.values(), float(not self._is_scored)]
        own = torch.tensor(packed, dtype=torch.float64, device="cpu")
        group.add([own])
        *sums, unscored = own.tolist()
        for name, value in zip(names, sums, strict=True):
            self._totals[name] += value
            self._own[name] = 0.0
        self._is_scored = unscored == 0

    def totals(self) -> dict[str, float]:
        """The sums that have been read and gathered."""
        return dict(self._totals)

    @property
    def mean_loss(self) -> float:
        """The mean loss of the examples that have been read."""
        return self._totals["loss"] / self._totals["examples"]

    @property
    def accuracy(self) -> float | None:
        """The share of correct predictions among them; ``None`` if a batch had no class scores."""
        return self._totals["correct"] / self._totals["examples"] if self._is_scored else None
