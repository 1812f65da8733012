"""The width of a basin: how far the weights can move before the network is worse by a given amount."""

import math
from typing import Literal

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.linalg.decay import share_of_draws
from landscape.linalg.hutchinson import mean_of_draws
from landscape.measures.ascent import ascent
from landscape.measures.change import Quantity, size_of_weights, unmeasurable, worsening
from landscape.measures.crossing import Crossing, crossing
from landscape.measures.expected import Expected, Settings
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed

# Directions before the first look at the standard error: one estimated from fewer stops far too early.
MIN_DIRECTIONS = 8


def _cost(objective: Objective, options: Settings) -> Expected:
    if options["case"] == "worst":
        return Expected(Cost(gradients=13 * options["steps"], evaluations=26))
    # About 7 distances a direction, of which 8 are typical: they are nearly equally wide in large networks.
    return Expected(Cost(evaluations=57), budget={"evaluations": 1 + 7 * options["max_directions"]})


@measure_named("basin-width", unit="θ", cost=_cost)
def basin_width(
    objective: Objective,
    *,
    case: Literal["most", "worst"] = "most",
    quantity: Quantity = "loss",
    change: Positive = 0.1,
    tolerance: Positive = 0.05,
    max_directions: PositiveInt = 32,
    steps: PositiveInt = 20,
    seed: Seed = 0,
) -> Reading:
    """The distance ‖ε‖ at which the loss has risen by ``change``, or the accuracy has fallen by it.

    ``case=most``: the mean over random directions δ of the length of αδ, ‖δ‖ = 1, from the slice L(θ + αδ), with its
    standard error; ``sigma`` in the details is the value over √n, the standard deviation of noise of that length.
    ``case=worst``: the radius of the ball in which an ascent of ``steps`` steps reaches the change; as it may miss the
    worst point, the value is no less than the true width. Each distance is enclosed by doubling and bisection.

    Args:
        objective: The point.
        case: Along most directions, or along the worst one.
        quantity: What gets worse: ``"loss"`` or ``"accuracy"``.
        change: By how much, in the unit of the loss or as a share of the examples.
        tolerance: Of each distance, and of the standard error of their mean, relative.
        max_directions: The most random directions; beyond them the value is not converged.
        steps: Steps of the ascent of ``case=worst``, as in :func:`~landscape.measures.adaptive_sharpness`.
        seed: Of the directions.

    Reference:
        Chen et al. 2025, arXiv 2505.17646, section 3: the slices along random directions and along the worst one, of a
        benchmark's score. That the width ends at a fixed change, and how the worst point is sought, is ours.
    """
    undefined = unmeasurable(objective, quantity, change)
    if undefined:
        return Reading(math.nan, details={"undefined": undefined})
    search = _Search(objective, quantity, change, tolerance)
    if case == "worst":
        return search.worst(steps)
    return search.most(seed, max_directions)


class _Search:
    """Distances at which an objective is worse by the same amount."""

    def __init__(self, objective: Objective, quantity: Quantity, target: float, tolerance: float) -> None:
        self.objective, self.quantity, self.target, self.tolerance = objective, quantity, target, tolerance
        self.start, self.tried = 0.01 * size_of_weights(objective), 0

    def worst(self, steps: int) -> Reading:
        if float(self.objective.shards.norm(self.objective.gradient)) == 0:
            return Reading(
                math.nan, details={"undefined": "the gradient is zero: the ascent has no direction"}
            )

        def highest(radius: float) -> float:
            self.tried += 1
            self.objective.ledger.tell(f"radius {radius:.3g}", None)
            visited = ascent(self.objective, rho=radius, steps=steps)
            return max(worsening(self.objective, self.quantity, there) for there in visited)

        return self._reading(
            crossing(highest, target=self.target, start=self.start, tolerance=self.tolerance)
        )

    def most(self, seed: int, limit: int) -> Reading:
        objective, draws = self.objective, Draws(seed)
        widest: list[Crossing] = []

        def widths(numbers: range) -> Tensor:
            (direction,) = objective.shards.drawn(draws.normals, numbers, like=objective.point)
            direction /= objective.shards.norm(direction)
            match = self._along(direction)
            widest.append(match or Crossing(math.nan, 0.0, math.inf))
            self.start = match.scale if match else self.start  # other directions are about as wide
            return torch.tensor([widest[-1].scale], dtype=torch.float64, device="cpu")

        def report(count: int, mean: float, error: float) -> None:
            goal = self.tolerance * mean
            share = share_of_draws(count, error, goal, most=limit) if count >= MIN_DIRECTIONS else None
            objective.ledger.tell(f"width {mean:.4g} ± {error:.2g}, goal ± {goal:.2g}", share)

        estimate = mean_of_draws(
            widths, block=1, limit=limit, minimum=MIN_DIRECTIONS, tolerance=self.tolerance, on_step=report
        )
        if math.isnan(estimate.value):
            return self._reading(None)
        residual = max(each.residual for each in widest)
        details = {
            "sigma": estimate.value / math.sqrt(objective.dimension),
            "directions": len(widest),
            "evaluations": self.tried,
            "residual": residual,
        }
        return Reading(
            estimate.value, estimate.standard_error, estimate.converged, len(estimate.samples), details
        )

    def _along(self, direction: Tensor) -> Crossing | None:
        def change(distance: float) -> float:
            self.tried += 1
            there = self.objective.evaluate(self.objective.point + distance * direction)
            return worsening(self.objective, self.quantity, there)

        return crossing(change, target=self.target, start=self.start, tolerance=self.tolerance)

    def _reading(self, match: Crossing | None) -> Reading:
        if match is None:
            reason = (
                f"the {self.quantity} does not get worse by {self.target:g} at any distance that was tried"
            )
            return Reading(math.nan, details={"undefined": reason, "evaluations": self.tried})
        return Reading(
            match.scale, converged=True, details={"searches": self.tried, "residual": match.residual}
        )
