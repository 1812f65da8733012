"""The loss that a model computes itself, as those of Transformers do when they are given labels."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective.outputs import LABELS, SCORES
from landscape.objective.risk import BatchLoss


class OwnLoss(BatchLoss):
    """What ``model(**batch)`` (or ``model(*batch)``) returns as its ``loss``, or as a scalar.

    Batches are weighted by what the model averages over, as a few examples of the data show: examples, labels that are
    not −100, or these without the first of every row. Where it is something else, and that is said, ``next-token`` or
    ``cross-entropy`` weight every token the same.
    """

    def __init__(self) -> None:
        super().__init__(_mean)
        self.__name__ = "model"


def _mean(model: nn.Module, batch: Any) -> Tensor | tuple[Tensor, Any, Any]:
    if isinstance(batch, Mapping):
        returned = model(**batch)
    else:
        returned = model(*batch) if isinstance(batch, tuple) else model(batch)
    found = returned.get("loss") if isinstance(returned, Mapping) else getattr(returned, "loss", returned)
    if isinstance(found, (tuple, list)) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.ndim != 0:
        raise InputError(
            f"--loss model: {type(model).__name__} returns a {type(returned).__name__} without a scalar loss; one of "
            "Transformers computes one where the batch holds labels; otherwise choose --loss cross-entropy"
        )
    if isinstance(batch, Mapping) and isinstance(returned, Mapping):
        targets = next((batch[key] for key in LABELS if key in batch), None)
        outputs = next((returned[key] for key in SCORES if key in returned), None)
        return found, outputs, targets
    return found
