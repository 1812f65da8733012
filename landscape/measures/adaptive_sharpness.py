"""Adaptive sharpness: the largest rise of the loss where each weight moves in proportion to its own size."""

import math

from landscape.measures.ascent import rises
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt


@measure_named(
    "adaptive-sharpness",
    unit="loss",
    cost=lambda _, options: Cost(gradients=options["steps"], evaluations=2),
)
def adaptive_sharpness(
    objective: Objective, *, rho: Positive = 0.5, steps: PositiveInt = 20, eta: Positive = 0.01
) -> Reading:
    """Max L(θ+ε) − L(θ) over ‖T⁻¹ε‖₂ ≤ ρ with T = diag(|θ| + η), on all the data.

    The maximum is sought by projected gradient ascent in T⁻¹ε with normalised steps of length 2.5ρ/``steps``. The
    value is the best rise visited, the one-step point included: a lower bound of the maximum, in which nothing is
    random. It is invariant to rescaling two layers against each other, up to the influence of η. Its per-batch
    reading (m-sharpness) is the mean over :meth:`landscape.Objective.per_batch`.

    Args:
        objective: The point.
        rho: Radius ρ > 0, relative to the weights.
        steps: Steps of the ascent.
        eta: η, so that weights that are zero can move.

    Reference:
        Kwon et al. 2021, arXiv 2102.11600, eq. 3 (element-wise T, with η from section 4); Andriushchenko et al. 2023,
        arXiv 2302.07011, eq. 1. Neither prints the step length.
    """
    scale = objective.point.abs() + eta
    one_step, best = rises(objective, rho=rho, steps=steps, scale=scale)
    if best is None:
        return Reading(math.nan, details={"undefined": "the gradient is zero: the ascent has no direction"})
    if best == 0 and one_step == 0:
        slope = float(objective.shards.norm(objective.gradient * scale))
        reason = (
            f"a rise of about {rho * slope:.2g} is lost in the rounding of the loss, {objective.loss:.2g}"
        )
        return Reading(math.nan, details={"undefined": reason, "loss": objective.loss})
    return Reading(best, details={"one_step": one_step, "loss": objective.loss})
