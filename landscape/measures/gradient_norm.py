"""The gradient norm ‖∇L(θ)‖: how far the point is from stationary."""

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost


@measure_named("gradient-norm", unit="loss/θ", cost=Cost(gradients=1))
def gradient_norm(objective: Objective) -> Reading:
    """‖∇L(θ)‖₂, the Euclidean norm of the gradient of the mean loss over all the data.

    Exact on this data: no standard error. It costs one gradient, which other measures share. The possible rounding
    error, estimated from a few examples, is ``rounding`` in the details; see
    :attr:`landscape.objective.Objective.gradient_rounding`.

    Reference:
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, table 3.
    """
    # First, as it takes a vector of its own before the gradient is there.
    rounding = objective.gradient_rounding
    return Reading(
        float(objective.shards.norm(objective.gradient)),
        details={"loss": objective.loss, "accuracy": objective.accuracy, "rounding": rounding},
    )
