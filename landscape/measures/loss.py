"""The loss."""

from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective


@measure_named("loss", unit="loss", spends=lambda objective: Spending(evaluations=1))
def loss(objective: Objective) -> Reading:
    """L(θ), the mean loss over all the data, accumulated in float64; exact on this data."""
    return Reading(objective.loss)
