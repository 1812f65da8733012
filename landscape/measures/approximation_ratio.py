"""The one-step approximation ratio: how much of the worst rise SAM's single step finds."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch

from landscape.measures.ascent import rises
from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed


def _spends(objective: Objective, options: Mapping[str, Any]) -> Spending:
    share = min(1.0, options["examples"] / objective.num_examples)
    return Spending(gradients=share * options["steps"], evaluations=2 * share)


@measure_named("approximation-ratio", unit="1", spends=_spends)
def approximation_ratio(
    objective: Objective,
    *,
    rho: Positive = 0.05,
    steps: PositiveInt = 20,
    reading: Literal["batch", "example"] = "batch",
    examples: PositiveInt = 5000,
    seed: Seed = 0,
) -> Reading:
    """AR = E[ (L(θ+δ) − L(θ)) / (L(θ+δ*) − L(θ)) ], δ the one-step and δ* the best ascent within radius ρ.

    δ = ρ∇L/‖∇L‖. δ* is the best point visited by projected gradient ascent on the ball ‖δ‖ ≤ ρ, in ``steps``
    normalised steps of length 2.5ρ/``steps``; the one-step point is among them, so that AR ≤ 1. The losses
    are those of one batch (``reading="batch"``: each batch has its own δ and δ*, as SAM uses them), or of
    one example, as the formula is printed. The mean weights batches as the loss does; the standard error is over
    batches or examples. Batches whose best rise is below the rounding of the loss tell nothing: they are
    left out and counted.

    Args:
        objective: Where.
        rho: Radius ρ > 0 in parameter units.
        steps: Steps of the ascent.
        reading: Whether a loss is that of a batch or of one example (many times slower).
        examples: How many examples to take, in whole batches chosen at random; all if there are fewer.
        seed: Of the choice of batches.

    Raises:
        UsageError: ρ, ``steps`` or ``examples`` is not positive.

    Reference:
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 2. The paper does not print the step length.
    """
    chosen = list(_chosen(objective, reading, examples, seed))
    ratios, shares, skipped, zero = [], [], 0, 0
    for index, part in enumerate(chosen):
        one, best = rises(part, rho=rho, steps=steps)
        precision = 8 * torch.finfo(part.point.dtype).eps * max(1.0, abs(part.loss))
        if best is None:
            zero += 1
        elif not best > precision:
            skipped += 1
        else:
            ratios.append(one / best)
            shares.append(part.total_weight)
        objective.ledger.tell(f"ascent {index + 1} of {len(chosen)}", (index + 1) / len(chosen))
    details: dict[str, object] = {
        "averaged": len(ratios),
        "skipped_flat": skipped,
        "skipped_stationary": zero,
    }
    if not ratios:
        return Reading(
            math.nan, details={**details, "undefined": "no rise of the loss is above its rounding error"}
        )
    weights = np.asarray(shares) / np.sum(shares)
    mean = float(weights @ np.asarray(ratios))
    error = None
    if len(ratios) > 1:
        effective = 1.0 / float(weights @ weights)
        error = float(np.sqrt(weights @ (np.asarray(ratios) - mean) ** 2 / (effective - 1)))
    return Reading(mean, error, details=details)


def _chosen(objective: Objective, reading: str, examples: int, seed: int) -> Iterator[Objective]:
    """Batches (or examples) at random until there are ``examples``; all of them if that is too few."""
    sizes = np.array(objective.batch_sizes if reading == "batch" else [1] * objective.num_examples)
    order = np.random.default_rng(seed).permutation(len(sizes))
    needed = np.searchsorted(np.cumsum(sizes[order]), examples) + 1
    kept = set(order[:needed].tolist())
    parts = objective.per_batch() if reading == "batch" else objective.per_example()
    return (part for index, part in enumerate(parts) if index in kept)
