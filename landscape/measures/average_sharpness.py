"""Average sharpness: the mean rise of the loss under random noise in the weights."""

import math

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.linalg.decay import share_of_draws
from landscape.linalg.hutchinson import mean_of_draws
from landscape.measures.expected import Expected
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed

# Pairs before the first look at the standard error: one estimated from fewer stops far too early.
MIN_PAIRS = 8


@measure_named(
    "average-sharpness",
    unit="loss",
    # Typically 16 pairs of evaluations, and the loss at the point itself.
    cost=lambda _, options: Expected(
        Cost(evaluations=33), budget={"evaluations": 1 + 2 * options["max_pairs"]}
    ),
)
def average_sharpness(
    objective: Objective,
    *,
    rho: Positive = 0.1,
    adaptive: bool = True,
    tolerance: Positive = 0.05,
    max_pairs: PositiveInt = 200,
    seed: Seed = 0,
) -> Reading:
    """E[L(θ+ε)] − L(θ) with ε ~ N(0, ρ² diag(c²)), c = |θ|, or c = 1 with ``adaptive=false``.

    For small ρ it is ½ρ² Σⱼ cⱼ² Hⱼⱼ. Noise is drawn in pairs ±ε, whose mean is free of the part that is odd in ε:
    unbiased, with far fewer draws. Stops when the standard error over pairs is at most ``tolerance`` times the value,
    after at least 8 pairs.

    Args:
        objective: The point.
        rho: ρ > 0: the noise of a weight relative to the weight, or in its own unit with ``adaptive=false``.
        adaptive: Whether the noise is in proportion to each weight.
        tolerance: Relative standard error to reach.
        max_pairs: The most pairs ±ε, each two evaluations; beyond them the value is not converged.
        seed: Of the noise.

    Reference:
        Andriushchenko et al. 2023, arXiv 2302.07011, eq. 2 (there over batches of m examples; here on all the data).
        The pairs are ours.
    """
    draws, point = Draws(seed), objective.point
    scale = rho * (point.abs() if adaptive else torch.ones_like(point))
    moved = False  # whether any noise changed the loss at all

    def rises(numbers: range) -> Tensor:
        nonlocal moved
        (drawn,) = objective.shards.drawn(draws.normals, numbers, like=point)
        noise = drawn.mul_(scale)
        both = [objective.evaluate(point + sign * noise)[0] for sign in (1, -1)]
        moved = moved or any(value != objective.loss for value in both)
        return torch.tensor([sum(both) / 2 - objective.loss], dtype=torch.float64, device="cpu")

    def report(pairs: int, mean: float, error: float) -> None:
        goal = tolerance * abs(mean)
        share = share_of_draws(pairs, error, goal, most=max_pairs) if pairs >= MIN_PAIRS else None
        objective.ledger.tell(f"rise {mean:.4g} ± {error:.2g}, goal ± {goal:.2g}", share)

    estimate = mean_of_draws(
        rises,
        block=1,
        limit=max_pairs,
        minimum=MIN_PAIRS,
        tolerance=tolerance,
        on_step=report,
    )
    pairs = len(estimate.samples)
    details: dict[str, object] = {"pairs": pairs, "loss": objective.loss}
    if not moved and float(objective.shards.norm(objective.gradient)) > 0:
        reason = f"the rises are lost in the rounding of the loss, {objective.loss:.2g}"
        return Reading(math.nan, details={"undefined": reason, **details})
    return Reading(estimate.value, estimate.standard_error, estimate.converged, pairs, details)
