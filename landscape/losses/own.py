"""The loss that a model computes itself, as those of Transformers do when a batch contains labels."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from landscape.errors import InputError
from landscape.losses.loss_functions import BatchLoss
from landscape.losses.outputs import SCORES, targets_in


class OwnLoss(BatchLoss):
    """The ``loss`` in ``model(**batch)`` (or ``model(*batch)``), or the scalar that the model returns.

    Batches are weighted by the number over which the model averages, which a few examples of the data show: examples,
    labels that are not −100, or these without the first of every row. Otherwise a note says so; ``next-token`` and
    ``cross-entropy`` weight all tokens the same.
    """

    def __init__(self) -> None:
        super().__init__(_mean)
        self.__name__ = "model"  # the name in records


def _mean(model: nn.Module, batch: Any) -> Tensor | tuple[Tensor, Any, Any]:
    if isinstance(batch, Mapping):
        returned = model(**batch)
    else:
        returned = model(*batch) if isinstance(batch, tuple) else model(batch)
    loss = returned.get("loss") if isinstance(returned, Mapping) else getattr(returned, "loss", returned)
    if isinstance(loss, (tuple, list)) and loss:
        loss = loss[0]
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        raise InputError(
            f"--loss model: {type(model).__name__} returns a {type(returned).__name__} without a scalar loss; one of "
            "Transformers computes one if the batch contains labels; otherwise choose --loss cross-entropy"
        )
    if isinstance(batch, Mapping) and isinstance(returned, Mapping):
        outputs = next((returned[key] for key in SCORES if key in returned), None)
        targets = targets_in(batch)
        return loss, outputs, targets
    return loss
