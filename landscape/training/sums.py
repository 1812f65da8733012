"""The losses and correct predictions of an epoch, which stay on the device until somebody needs a number."""

from collections.abc import Mapping

from torch import Tensor

from landscape.reductions import numbers


class Sums:
    """Sums over examples.

    Args:
        totals: What :meth:`totals` returned; ``None`` for no example yet.
    """

    def __init__(self, totals: Mapping[str, float] | None = None) -> None:
        self._totals = dict(totals or {"loss": 0.0, "correct": 0.0, "examples": 0.0})
        self._waiting: list[tuple[Tensor, Tensor | None, int, int]] = []
        self._is_scored = True

    def add(self, loss: Tensor, correct: Tensor | None, *, examples: int, weight: int | None = None) -> None:
        """Adds a batch without reading it.

        Args:
            loss: Its mean loss, 0-dim.
            correct: The number of correct predictions, 0-dim; ``None`` without class scores.
            examples: The number of its examples.
            weight: The factor of the loss; by default the number of examples.
        """
        self._waiting.append((loss, correct, examples, examples if weight is None else weight))

    def read(self) -> list[float]:
        """The losses that were added since the last reading; waits for the device if there are any."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        losses = numbers(*(loss for loss, *_ in waiting))
        scored = [correct for _, correct, *_ in waiting if correct is not None]
        # Added up on the host in double precision, step after step, so that no number depends on when it is read.
        for loss, (*_, examples, weight) in zip(losses, waiting, strict=True):
            self._totals["loss"] += loss * weight
            self._totals["examples"] += examples
        self._totals["correct"] += sum(numbers(*scored))
        self._is_scored = self._is_scored and len(scored) == len(waiting)
        return losses

    def totals(self) -> dict[str, float]:
        """The sums that have been read."""
        return dict(self._totals)

    @property
    def mean_loss(self) -> float:
        """The mean loss of the examples that have been read."""
        return self._totals["loss"] / self._totals["examples"]

    @property
    def accuracy(self) -> float | None:
        """The share of correct predictions among them; ``None`` if a batch had no class scores."""
        return self._totals["correct"] / self._totals["examples"] if self._is_scored else None
