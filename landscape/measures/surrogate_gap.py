"""The surrogate gap: the rise of the loss after one SAM step uphill."""

import math

import torch

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive


@measure_named("surrogate-gap", unit="loss", cost=Cost(gradients=1, evaluations=1))
def surrogate_gap(objective: Objective, *, rho: Positive = 0.05) -> Reading:
    """h(θ) = L(θ + ρ ∇L/‖∇L‖) − L(θ).

    The details hold the perturbed loss L(θ + ρ∇L/‖∇L‖) and the curvature that the gap implies,
    2(h − ρ‖∇L‖)/ρ²: the mean second derivative along the gradient, which tends to the dominant eigenvalue
    where h ≈ ½σρ² (lemma 3.3 of the paper holds at minima, where ρ‖∇L‖ is negligible; it is subtracted
    here). At a stationary point the direction is undefined and h = 0. Exact on the data: no standard error.

    Args:
        objective: The point.
        rho: Radius ρ > 0 in parameter units.

    Raises:
        UsageError: ρ is not a positive finite number.

    Reference:
        Zhuang et al. 2022, arXiv 2203.08065, eq. 4 and lemma 3.3.
    """
    gradient = objective.gradient
    slope = float(objective.shards.norm(gradient))
    details = {"loss": objective.loss, "gradient_norm": slope}
    if slope == 0:
        return Reading(0.0, details={"perturbed_loss": objective.loss, **details})
    perturbed = objective.evaluate(objective.point + gradient * (rho / slope))[0]
    gap = perturbed - objective.loss
    rounding = torch.finfo(objective.point.dtype).eps * abs(objective.loss)
    if gap == 0 and rho * slope < rounding:
        reason = f"a rise of about ρ‖∇L‖ = {rho * slope:.2g} is lost in the rounding of the loss, {objective.loss:.2g}"
        return Reading(
            math.nan, details={"gradient_norm": slope, "loss": objective.loss, "undefined": reason}
        )
    curvature = 2 * (gap - rho * slope) / rho**2
    return Reading(gap, details={"perturbed_loss": perturbed, **details, "implied_curvature": curvature})
