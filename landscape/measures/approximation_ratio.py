"""The one-step approximation ratio: the share of the largest rise that SAM's single step finds."""

import math
from typing import Literal

import numpy as np
import torch

from landscape.measures.ascent import rises
from landscape.measures.expected import Settings
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def _cost(objective: Objective, options: Settings) -> Cost:
    share = min(1.0, options["examples"] / objective.num_examples)
    return Cost(gradients=share * options["steps"], evaluations=2 * share)


@measure_named("approximation-ratio", unit="1", cost=_cost)
def approximation_ratio(
    objective: Objective,
    *,
    rho: Positive = 0.05,
    steps: PositiveInt = 20,
    reading: Literal["batch", "example"] = "batch",
    examples: PositiveInt = 5000,
    seed: Seed = 0,
) -> Reading:
    """``AR = E[ (L(θ+δ) − L(θ)) / (L(θ+δ*) − L(θ)) ]``, δ the one-step and ``δ*`` the best ascent within radius ρ.

    δ = ρ∇L/‖∇L‖. ``δ*`` is the best point visited by projected gradient ascent on the ball ‖δ‖ ≤ ρ, in ``steps``
    normalised steps of length 2.5ρ/``steps``; the one-step point is among them, so that AR ≤ 1. The losses
    are those of one batch (``reading="batch"``: each batch has its own δ and ``δ*``, as SAM uses them), or of
    one example, as the formula is printed. The mean weights batches as the loss does; the standard error is over
    batches or examples. Batches whose best rise is below the rounding error of the loss are left out and counted.

    Args:
        objective: The point.
        rho: Radius ρ > 0 in parameter units.
        steps: Steps of the ascent.
        reading: Whether a loss is that of a batch or of one example (many times slower).
        examples: The number of examples to use, in whole batches chosen at random; all if there are fewer.
        seed: Of the choice of batches.

    Raises:
        UsageError: ρ, ``steps`` or ``examples`` is not positive.

    Reference:
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 2. The paper does not print the step length.
    """
    selected, done = _selected(objective, reading, examples, seed), 0

    def ratio_of(part: Objective) -> tuple[float | None, float]:
        nonlocal done
        one_step, best = rises(part, rho=rho, steps=steps)
        done += 1
        share = min(1.0, done * objective.group.world / len(selected))
        objective.ledger.tell(f"ascent {done} of {len(selected)}", share)
        # Eight units in the last place: the difference of two losses, each a sum over a batch.
        precision = 8 * torch.finfo(part.point.dtype).eps * max(1.0, abs(part.loss))
        if best is None:
            return None, part.total_weight
        return one_step / best if best > precision else math.inf, part.total_weight

    by_part = objective.by_batch if reading == "batch" else objective.by_example
    results = by_part(ratio_of, only=selected)
    ratios, shares = [], []
    for ratio, share in results:
        if ratio is not None and ratio != math.inf:
            ratios.append(ratio)
            shares.append(share)
    details: dict[str, object] = {
        "averaged": len(ratios),
        "skipped_flat": sum(ratio == math.inf for ratio, _ in results),
        "skipped_stationary": sum(ratio is None for ratio, _ in results),
    }
    if not ratios:
        details["undefined"] = "no rise of the loss is above its rounding error"
        return Reading(math.nan, details=details)
    weights = np.asarray(shares) / np.sum(shares)
    mean = float(weights @ np.asarray(ratios))
    error = None
    if len(ratios) > 1:
        effective = 1.0 / float(weights @ weights)
        error = float(np.sqrt(weights @ (np.asarray(ratios) - mean) ** 2 / (effective - 1)))
    return Reading(mean, error, details=details)


def _selected(objective: Objective, reading: str, examples: int, seed: int) -> set[int]:
    """The numbers of batches (or single examples) at random that contain ``examples``; of all if there are fewer."""
    sizes = np.array(objective.batch_sizes if reading == "batch" else [1] * objective.num_examples)
    order = np.random.default_rng(seed).permutation(len(sizes))
    needed = np.searchsorted(np.cumsum(sizes[order]), examples) + 1
    return set(order[:needed].tolist())
