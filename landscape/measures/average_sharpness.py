"""Average sharpness: the mean rise of the loss under random noise in the weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed

MIN_PAIRS = 8
"""Pairs before the first look at the standard error."""


def _spends(objective: Objective, options: Mapping[str, Any]) -> Spending:
    return Spending(evaluations=33, most=Cost(evaluations=1 + 2 * options["max_pairs"]))


@measure_named("average-sharpness", unit="loss", spends=_spends)
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
        objective: Where.
        rho: ρ > 0: the noise of a weight relative to the weight, or in its own unit with ``adaptive=false``.
        adaptive: Whether the noise is in proportion to each weight.
        tolerance: Relative standard error to reach.
        max_pairs: Pairs ±ε at the most, each two evaluations; beyond them the value is not converged.
        seed: Of the noise.

    Reference:
        Andriushchenko et al. 2023, arXiv 2302.07011, eq. 2 (there over batches of m examples; here on all the data).
        The pairs are ours.
    """
    generator = torch.Generator().manual_seed(seed)
    point = objective.point
    scale = rho * (point.abs() if adaptive else torch.ones_like(point))
    rises: list[float] = []
    moved = False  # whether any noise changed the loss at all
    mean = error = math.nan
    while len(rises) < max_pairs:
        drawn = torch.randn(objective.dimension, generator=generator, dtype=torch.float64)
        noise = drawn.to(point.device, point.dtype) * scale
        both = [objective.evaluate(point + sign * noise)[0] for sign in (1, -1)]
        moved = moved or any(value != objective.loss for value in both)
        rises.append(sum(both) / 2 - objective.loss)
        found = torch.tensor(rises, dtype=torch.float64)
        mean = float(found.mean())
        error = float(found.std() / math.sqrt(len(rises))) if len(rises) > 1 else math.inf
        objective.ledger.tell(f"rise {mean:.4g} ± {error:.2g}", len(rises) / max_pairs)
        if mean != mean or (len(rises) >= MIN_PAIRS and error <= tolerance * abs(mean)):
            break
    if not moved and bool(objective.gradient.any()):
        reason = f"the rises are lost in the rounding of the loss, {objective.loss:.2g}"
        return Reading(math.nan, details={"undefined": reason, "pairs": len(rises), "loss": objective.loss})
    return Reading(
        mean, error, error <= tolerance * abs(mean), len(rises), {"pairs": len(rises), "loss": objective.loss}
    )
