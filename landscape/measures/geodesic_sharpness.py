"""Geodesic sharpness: adaptive sharpness where the symmetry of attention is divided out."""

import math

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.errors import UsageError
from landscape.measures.ascent import STRIDE
from landscape.measures.attention_symmetry import Chart, Metric, Pair, moved_along_symmetry, pairs_of
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.reductions import exact
from landscape.registry.bounds import Positive, PositiveInt


@measure_named(
    "geodesic-sharpness",
    unit="loss",
    cost=lambda _, options: Cost(gradients=options["steps"], evaluations=2),
)
def geodesic_sharpness(
    objective: Objective, *, rho: Positive = 0.1, steps: PositiveInt = 20, metric: Metric = "inv"
) -> Reading:
    """Max L(γ_ξ(1)) − L(θ) over horizontal directions ξ of length ‖ξ‖ ≤ ρ, along geodesics γ_ξ to second order.

    Queries with keys, and values with outputs, of each head have a metric that does not change under (GA⁻¹, HAᵀ), and
    horizontal directions are orthogonal to it; biases belong to their matrices. All other weights w have the metric of
    adaptive sharpness, ‖ξ/w‖, and straight lines; so have heads whose projections are not known or not free. The
    maximum is sought as in :func:`~landscape.measures.adaptive_sharpness`, by normalised steps of projected gradient
    ascent of length 2.5ρ/``steps``: a lower bound, in which nothing is random. That the loss does have the symmetry is
    checked at one point; rotary positions or a normalisation of queries break it, and the value is then undefined.

    Args:
        objective: The point. The paper takes batches of 128 or 256; see :meth:`landscape.Objective.per_batch`.
        rho: Radius ρ > 0, in the metric.
        steps: Steps of the ascent.
        metric: ``"inv"``, Tr((GᵀG)⁻¹ξᵀξ) + Tr((HᵀH)⁻¹ζᵀζ), relative to the weights; or ``"mix"``,
            Tr(HᵀHξᵀξ) + Tr(GᵀGζᵀζ), the length of the change of GHᵀ.

    Raises:
        UsageError: Processes divide the weights.

    Reference:
        da Silva, Dangel and Oore 2025, arXiv 2505.05409, eq. 4, 5 and 9 to 12, and appendix C. The ascent is ours:
        theirs is Auto-PGD, and takes the gradient at the end of the geodesic for the one by its velocity.
    """
    if objective.shards.ranges is not None:
        raise UsageError("geodesic-sharpness needs whole weights; measure it without --shard-weights")
    gradient, pairs = (
        objective.gradient,
        pairs_of(objective),
    )  # the gradient first, whose pass has the loss too
    details: dict[str, object] = {"pairs": len(pairs), "loss": objective.loss}
    if pairs:
        change = objective.evaluate(moved_along_symmetry(objective, pairs, Draws(0)))[0] - objective.loss
        eps = torch.finfo(objective.point.dtype).eps
        if not abs(change) <= 10 * eps**0.75 * max(1.0, abs(objective.loss)):
            reason = (
                f"the loss changes by {change:.2g} where attention with queries and keys, values and outputs as linear "
                "maps of the same inputs would not change it: positions are rotated, or queries normalised"
            )
            return Reading(math.nan, details={**details, "undefined": reason})
    ball = _Ball(objective.point, pairs, metric)
    slope = ball.gradient(torch.zeros_like(ball.weights), gradient)
    if float(ball.norm(slope)) == 0:
        return Reading(
            math.nan, details={**details, "undefined": "the gradient is zero: the ascent has no direction"}
        )

    def rise(velocity: Tensor) -> float:
        return objective.evaluate(ball.end(velocity).to(objective.point))[0] - objective.loss

    one_step = best = rise(rho / ball.norm(slope) * slope)
    velocity = torch.zeros_like(slope)
    for step in range(1, steps + 1):
        length = ball.norm(slope)
        velocity += slope * torch.where(length > 0, STRIDE * rho / steps / length, 0.0)
        velocity *= (rho / ball.norm(velocity)).clamp(max=1.0)
        if step == steps:  # no gradient is needed at the last point
            best = max(best, rise(velocity))
        else:
            there = objective.at(ball.end(velocity).to(objective.point))
            slope = ball.gradient(velocity, there.gradient)
            best = max(best, there.loss - objective.loss)
    return Reading(best, details={**details, "one_step": one_step})


class _Ball:
    """Directions at a point: their lengths, where their geodesics end, and gradients in them; in double precision."""

    def __init__(self, point: Tensor, pairs: list[Pair], metric: Metric) -> None:
        self.weights = exact(point)
        self.parts = [(pair, Chart(pair.of(point), metric)) for pair in pairs]
        self.others = torch.ones_like(point, dtype=torch.bool)
        for pair in pairs:
            self.others[pair.left] = self.others[pair.right] = False

    def norm(self, velocity: Tensor) -> Tensor:
        """‖ξ‖ ``()``."""
        moves = self.others & (self.weights != 0)
        squares = torch.where(moves, velocity / self.weights, 0.0).square().sum()
        return sum((chart.squared_norm(pair.of(velocity)) for pair, chart in self.parts), squares).sqrt()

    def end(self, velocity: Tensor) -> Tensor:
        """γ_ξ(1) ``(n,)``."""
        end = self.weights + velocity
        for pair, chart in self.parts:
            pair.put(end, chart.along(pair.of(velocity)))
        return end

    def gradient(self, velocity: Tensor, slopes: Tensor) -> Tensor:
        """The horizontal gradient by the velocity of a function with derivatives ``slopes`` ``(n,)`` at its end."""
        slopes = exact(slopes)
        gradient = slopes * self.weights.square()
        for pair, chart in self.parts:
            pulled = chart.pulled_back(pair.of(velocity), pair.of(slopes))
            pair.put(gradient, chart.horizontal(chart.gradient(pulled)))
        return gradient
