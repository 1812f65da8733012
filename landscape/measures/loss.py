"""The loss."""

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective


@measure_named("loss", unit="loss")
def loss(objective: Objective) -> Reading:
    """L(θ), the mean loss over all the data, accumulated in float64; exact on this data."""
    return Reading(objective.loss)
