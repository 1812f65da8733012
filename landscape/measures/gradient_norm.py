"""‖∇L(θ)‖: how far from stationary the point is."""

from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective


@measure_named("gradient-norm", unit="loss/θ", spends=lambda _objective, _: Spending(gradients=1))
def gradient_norm(objective: Objective) -> Reading:
    """‖∇L(θ)‖₂, the Euclidean norm of the gradient of the mean loss over all the data.

    Exact on the data given: no standard error. Its cost is one gradient, which other measures share. What rounding may
    add is in the details, ``rounding``: that of a few examples beside float64.

    Reference:
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, table 3.
    """
    return Reading(
        float(objective.gradient.double().norm()),
        details={
            "loss": objective.loss,
            "accuracy": objective.accuracy,
            "rounding": objective.gradient_rounding,
        },
    )
