"""Tr H by the cheapest of three ways that applies: an exact sum, an exact sum and a small remainder, or probes.

1. Where the outputs are proved piecewise affine in each parameter, Tr H = Tr G, which is a sum of squared
   per-example gradients: exact, one backward pass a class.
2. Otherwise, where Tr G can be had: Tr G exactly, and Tr (H − G) from probes.
3. Otherwise Tr H from probes.

The probes are drawn afresh for every batch, and their number follows from the standard error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.curvature.gauss_newton_trace import (
    MANY_CLASSES,
    GaussNewtonPlan,
    gauss_newton_traces,
    plan,
)
from landscape.curvature.quadratic_forms import quadratic_forms
from landscape.objective import Objective

MIN_PASSES = 8
"""Passes over the data before the first look at the standard error; fewer stop far too early."""

Way = Literal["exact", "gauss-newton-residual", "probes"]
Listener = Callable[[int, float, float], None]


@dataclass(frozen=True)
class HessianTrace:
    """Tr H and how it was had.

    Attributes:
        value: Tr H.
        standard_error: ``None`` if nothing was drawn.
        converged: Whether the standard error met the tolerance; ``None`` if nothing was drawn.
        way: Which of the three ways.
        proof: ``"proved"``, or why Tr H = Tr G is not proved.
        gauss_newton: Tr G, if it was computed.
        passes: Passes over the data with probes or sampled classes.
    """

    value: float
    standard_error: float | None
    converged: bool | None
    way: Way
    proof: str
    gauss_newton: float | None = None
    passes: int = 0


def hessian_trace(
    objective: Objective,
    *,
    tolerance: float,
    max_passes: int,
    generator: torch.Generator,
    on_step: Listener | None = None,
) -> HessianTrace:
    """Tr ∇²L(θ).

    Args:
        objective: Where.
        tolerance: Standard error to reach, relative to max(|Tr H|, Tr G): of a trace that is a small
            difference of large parts, less cannot be had at a reasonable price.
        max_passes: Probes (each once over all the data) at the most.
        generator: Draws probes and sampled classes.
        on_step: Told passes, estimate and standard error.
    """
    chosen = plan(objective)
    if chosen.obstacle:
        found = _sampled(
            lambda k: quadratic_forms(objective, columns=k, generator=generator, less_gauss_newton=False),
            offset=0.0,
            scale=0.0,
            tolerance=tolerance,
            max_passes=max_passes,
            on_step=on_step,
        )
        return HessianTrace(*found[:3], "probes", chosen.obstacle, None, found[3])
    if chosen.outputs > MANY_CLASSES:
        return _many_classes(objective, chosen, tolerance, max_passes, generator, on_step)
    inner = float(gauss_newton_traces(objective, chosen).sum())
    if chosen.affine.proved:
        return HessianTrace(inner, None, None, "exact", "proved", inner)
    found = _sampled(
        lambda k: quadratic_forms(objective, columns=k, generator=generator, less_gauss_newton=True),
        offset=inner,
        scale=inner,
        tolerance=tolerance,
        max_passes=max_passes,
        on_step=on_step,
    )
    return HessianTrace(*found[:3], "gauss-newton-residual", chosen.affine.reason, inner, found[3])


def _many_classes(
    objective: Objective,
    chosen: GaussNewtonPlan,
    tolerance: float,
    max_passes: int,
    generator: torch.Generator,
    on_step: Listener | None,
) -> HessianTrace:
    """One sampled class an example and pass; with a probe for H − G in the same pass where that is not zero."""

    def draw(count: int) -> Tensor:
        classes = [gauss_newton_traces(objective, chosen, generator=generator).sum() for _ in range(count)]
        inner = torch.stack(classes).cpu()
        if chosen.affine.proved:
            return inner
        rest = quadratic_forms(objective, columns=count, generator=generator, less_gauss_newton=True)
        return inner + rest

    found = _sampled(draw, offset=0.0, scale=0.0, tolerance=tolerance, max_passes=max_passes, on_step=on_step)
    way: Way = "exact" if chosen.affine.proved else "gauss-newton-residual"
    proof = "proved" if chosen.affine.proved else chosen.affine.reason
    return HessianTrace(*found[:3], way, proof, None, found[3])


def _sampled(
    draw: Callable[[int], Tensor],
    *,
    offset: float,
    scale: float,
    tolerance: float,
    max_passes: int,
    on_step: Listener | None,
) -> tuple[float, float, bool, int]:
    """``offset`` plus the mean of what ``draw`` returns, until its standard error is small enough."""
    samples = torch.empty(0, dtype=torch.float64)
    value = error = math.nan
    while len(samples) < max_passes:
        samples = torch.cat([samples, draw(min(4, max_passes - len(samples))).double()])
        value = offset + float(samples.mean())
        error = float(samples.std() / math.sqrt(len(samples))) if len(samples) > 1 else math.inf
        if on_step is not None:
            on_step(len(samples), value, error)
        reached = error <= tolerance * max(abs(value), scale)
        if (len(samples) >= MIN_PASSES and reached) or value != value:
            break
    return value, error, error <= tolerance * max(abs(value), scale), len(samples)
