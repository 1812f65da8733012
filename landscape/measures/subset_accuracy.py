"""The accuracy among the classes that occur in the data, for examples of some of a network's classes."""

import math
from typing import Any

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost


@measure_named("subset-accuracy", unit="1", cost=Cost(evaluations=2))
def subset_accuracy(objective: Objective) -> Reading:
    """The fraction of examples whose target has the largest output among the classes that occur in these data.

    What ImageNet-R asks: its pictures show 200 of the 1,000 classes of the network. With examples of all classes it is
    the accuracy. NaN if the outputs are not class scores. The number of classes is in the details.

    Raises:
        UsageError: Batches that are not ``(inputs, targets)``.

    Reference:
        Hendrycks et al. 2021, arXiv 2006.16241, section 3.
    """
    present = set[int]()

    def look(risk: Any, batch: Any) -> list[Tensor]:
        targets = batch[1] if isinstance(batch, tuple) and len(batch) == 2 else None
        if not isinstance(targets, Tensor):
            raise UsageError("subset-accuracy needs (inputs, targets) batches")
        if not targets.is_floating_point():
            present.update(targets.flatten().tolist())
        return []

    objective.average(look)
    classes = sorted(
        {each for part in objective.group.gathered(sorted(present)) for each in part if each >= 0}
    )
    if not classes or objective.accuracy is None:
        return Reading(math.nan, details={"undefined": "the outputs are not class scores"})

    def count(risk: Any, batch: Any) -> list[Tensor]:
        with torch.no_grad():
            _, outputs, targets = risk.forward(batch)
        risk.book(evaluations=1)
        among = torch.full_like(outputs, -math.inf)
        among[..., classes] = outputs[..., classes]
        right: list[Tensor] = risk.correct(among, targets)
        return right

    right, counted = torch.stack(objective.average(count)).tolist()
    return Reading(right / counted, details={"classes": len(classes)})
