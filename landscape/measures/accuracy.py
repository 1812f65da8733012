"""The accuracy of a classifier."""

import math

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective


@measure_named("accuracy", unit="1")
def accuracy(objective: Objective) -> Reading:
    """The fraction of examples whose largest output is the target; NaN if the outputs are not class scores."""
    if objective.accuracy is None:
        return Reading(math.nan, details={"undefined": "the outputs are not class scores"})
    return Reading(objective.accuracy)
