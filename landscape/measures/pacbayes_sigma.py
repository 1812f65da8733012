"""PAC-Bayes σ: the size of random noise in the weights that costs a given amount of accuracy."""

import math

import numpy as np

from landscape.draws import Draws
from landscape.measures.change import Quantity, size_of_weights, unmeasurable, worsening
from landscape.measures.crossing import crossing
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import NonNegative, Positive, PositiveInt, Seed

_WIDENED = 1.1
"""Factor to either side of σ between which the slope is taken: accuracies are steps, so the search's own is not one."""


@measure_named(
    "pacbayes-sigma", unit="θ", cost=lambda _, options: Cost(evaluations=1 + 13 * options["draws"])
)
def pacbayes_sigma(
    objective: Objective,
    *,
    quantity: Quantity = "accuracy",
    deviation: Positive = 0.1,
    magnitude: bool = False,
    epsilon: NonNegative = 1e-3,
    draws: PositiveInt = 16,
    tolerance: Positive = 0.02,
    seed: Seed = 0,
) -> Reading:
    """σ at which the accuracy falls by ``deviation`` on average under noise ε ~ N(0, σ²I); large where L is flat.

    With ``magnitude=true`` the noise of weight w has the variance σ²w² + ``epsilon``² (magnitude-aware; σ has no unit
    then). The same draws serve all σ, so that the mean over them is a function of σ: it is enclosed by doubling and
    bisection, and is linear between the last two. The standard error is the draws' spread over the slope of the mean.
    What the papers compare, 1/σ², is ``flatness`` in the details.

    Args:
        objective: The point. Batch-norm statistics stay, and noise is in all free parameters.
        quantity: Whether the ``"accuracy"`` has to fall, or the ``"loss"`` to rise.
        deviation: By how much on average, as a share of the examples, or in the unit of the loss.
        magnitude: Whether the noise is in proportion to each weight.
        epsilon: The part of that noise which is not.
        draws: Noise vectors; each is one pass over the data at every σ that is tried.
        tolerance: Of the search, relative to σ.
        seed: Of the noise.

    Reference:
        Jiang et al. 2020, arXiv 1912.02178, eq. 53 and 61; Dziugaite et al. 2020, arXiv 2010.11924, whose code has the
        deviation of 0.1, ε = 1e-3 and 10 draws, takes variances for standard deviations, and folds batch norm into the
        weights before. The size of a basin of Chen et al. 2025, arXiv 2505.17646, section 4, is the same σ.
    """
    undefined = unmeasurable(objective, quantity, deviation)
    if undefined:
        return Reading(math.nan, details={"undefined": undefined})
    random, point, tried = Draws(seed), objective.point, 0

    def changes(sigma: float) -> list[float]:
        nonlocal tried
        tried += 1
        objective.ledger.tell(f"σ = {sigma:.3g}", None)
        values = []
        for number in range(draws):
            (noise,) = objective.shards.drawn(random.normals, range(number, number + 1), like=point)
            noise *= (sigma**2 * point.square() + epsilon**2).sqrt_() if magnitude else sigma
            values.append(worsening(objective, quantity, objective.evaluate(point + noise)))
        return values

    start = 0.01 if magnitude else 0.01 * size_of_weights(objective) / math.sqrt(objective.dimension)
    match = crossing(
        lambda sigma: float(np.mean(changes(sigma))), target=deviation, start=start, tolerance=tolerance
    )
    if match is None:
        reason = f"the {quantity} does not get worse by {deviation:g} on average at any σ that was tried"
        return Reading(math.nan, details={"undefined": reason, "evaluations": tried * draws})
    sigma = match.scale
    below, above = changes(sigma / _WIDENED), changes(sigma * _WIDENED)
    slope = float(np.mean(above) - np.mean(below)) / (sigma * (_WIDENED - 1 / _WIDENED))
    spread = float(np.std(np.add(below, above) / 2, ddof=1)) / math.sqrt(draws) if draws > 1 else math.nan
    return Reading(
        sigma,
        standard_error=spread / slope if slope > 0 and draws > 1 else None,
        converged=True,
        draws=draws,
        details={"flatness": sigma**-2, "evaluations": tried * draws, "residual": match.residual},
    )
