"""Tr H by the cheapest of four ways that applies: an exact sum, probes for every example, a small remainder, or probes.

1. Where the outputs are proved piecewise affine in each parameter, Tr H = Tr G, which is a sum of squared
   per-example gradients: exact, one backward pass a class.
2. Otherwise, where every parameter is used once by an operation that is linear in it, Tr H from probes of their own for
   every example.
3. Otherwise, where Tr G can be had: Tr G exactly, and Tr (H − G) from probes drawn afresh for every batch.
4. Otherwise Tr H from such probes.

How much is drawn follows from the standard error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from landscape.curvature.example_probes import PairOfPasses, pair_of_passes, pooled
from landscape.curvature.gauss_newton_trace import (
    MANY_CLASSES,
    GaussNewtonPlan,
    described,
    gauss_newton_traces,
    plan,
    rounding_of_trace,
)
from landscape.curvature.quadratic_forms import quadratic_forms
from landscape.errors import InputError, OutOfMemory, UsageError, is_out_of_memory
from landscape.objective import Objective

MIN_PASSES = 8
"""Passes over the data before the first look at the standard error; fewer stop far too early."""

MIN_FREEDOM = 20
"""Degrees of freedom of the standard error before the first look at it, where examples have probes of their own."""

Way = Literal["exact", "example-probes", "gauss-newton-residual", "probes"]
Listener = Callable[[int, float, float], None]


@dataclass(frozen=True)
class HessianTrace:
    """Tr H, whole and layer by layer, and how it was had.

    Attributes:
        layers: The part of every free parameter tensor, ``(parameters,)``; their sum is Tr H.
        layer_errors: Their standard errors; ``None`` if nothing was drawn.
        standard_error: That of the sum; ``None`` if nothing was drawn.
        converged: Whether the standard error met the tolerance; ``None`` if nothing was drawn.
        way: Which of the four ways.
        proof: ``"proved"``, or why Tr H = Tr G is not proved.
        gauss_newton: Tr G, if it was computed.
        passes: Passes over the data with probes or sampled classes.
        draws: Independent draws to which the standard error is worth as much; the passes, or more.
        rounding: About how large the rounding error of an exact trace is; ``None`` in double precision.
    """

    layers: Tensor
    layer_errors: Tensor | None
    standard_error: float | None
    converged: bool | None
    way: Way
    proof: str
    gauss_newton: float | None = None
    passes: int = 0
    draws: int = 0
    rounding: float | None = None

    @property
    def value(self) -> float:
        """Tr H."""
        return float(self.layers.sum())


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
    chosen = objective.remembered("gauss-newton plan", lambda: plan(objective))
    stop = _Stop(tolerance, max_passes, on_step)

    def probes(count: int, *, residual: bool) -> Tensor:
        return quadratic_forms(objective, columns=count, generator=generator, less_gauss_newton=residual)

    try:
        fast = _fast(objective, chosen, stop, probes, generator)
    except Exception as failure:  # a network that was seen on one batch may raise anything on another
        if isinstance(failure, (UsageError, InputError, OutOfMemory)) or (
            isinstance(failure, (RuntimeError, MemoryError)) and is_out_of_memory(failure)
        ):
            raise
        fast, reason = None, f"examples of some batch cannot be taken apart ({described(failure)})"
    else:
        reason = chosen.obstacle
    if fast is not None:
        return fast
    zero = torch.zeros(len(objective.layout.entries), dtype=torch.float64)
    return stop.sampled(partial(probes, residual=False), zero, "probes", reason, None)


def _fast(
    objective: Objective,
    chosen: GaussNewtonPlan,
    stop: "_Stop",
    probes: Callable[..., Tensor],
    generator: torch.Generator,
) -> HessianTrace | None:
    """The trace by the first of the ways that take examples apart which applies; ``None`` if none does."""
    if chosen.by_example and stop.max_passes > 1:
        return _by_example(objective, chosen, stop, generator)
    if chosen.obstacle:
        return None
    if chosen.outputs <= MANY_CLASSES:
        inner = _gauss_newton(objective, chosen)
        if chosen.affine.proved:
            whole, relative = float(inner.sum()), None
            if objective.point.dtype == torch.float32:
                relative = rounding_of_trace(objective, chosen)
            rounding = None if relative is None else relative * abs(whole)
            return HessianTrace(inner, None, None, None, "exact", "proved", whole, rounding=rounding)
        draw = partial(probes, residual=True)
        return stop.sampled(draw, inner, "gauss-newton-residual", chosen.affine.reason, float(inner.sum()))
    return _many_classes(objective, chosen, stop, probes, generator)


def _gauss_newton(objective: Objective, chosen: GaussNewtonPlan) -> Tensor:
    return objective.remembered("gauss-newton traces", lambda: gauss_newton_traces(objective, chosen).cpu())


def _by_example(
    objective: Objective, chosen: GaussNewtonPlan, stop: "_Stop", generator: torch.Generator
) -> HessianTrace:
    """Two probes an example at a time, until the standard error is small enough and known well enough.

    They are for H − G alone where there is an exact Tr G to add, because most of the variance is that of G.
    """
    inner: Tensor | None = None
    if not chosen.obstacle and chosen.outputs <= MANY_CLASSES:
        inner = _gauss_newton(objective, chosen)
    pairs: list[PairOfPasses] = []
    while True:
        seed = int(torch.randint(0, 2**62, (), generator=generator))
        pairs.append(pair_of_passes(objective, seed=seed, less_gauss_newton=inner is not None))
        means, errors, error, freedom = pooled(pairs)
        layers = means if inner is None else inner + means
        passes, value = 2 * len(pairs), float(layers.sum())
        if stop.on_step is not None:
            stop.on_step(passes, value, error)
        reached = error <= stop.tolerance * max(abs(value), 0.0 if inner is None else float(inner.sum()))
        if (reached and freedom >= MIN_FREEDOM) or passes + 2 > stop.max_passes or value != value:
            break
    return HessianTrace(
        layers=layers,
        layer_errors=errors,
        standard_error=error,
        converged=reached,
        way="example-probes",
        proof=chosen.affine.reason or chosen.obstacle,
        gauss_newton=None if inner is None else float(inner.sum()),
        passes=passes,
        draws=1 + int(min(freedom, 1e9)),
    )


def _many_classes(
    objective: Objective,
    chosen: GaussNewtonPlan,
    stop: "_Stop",
    probes: Callable[..., Tensor],
    generator: torch.Generator,
) -> HessianTrace:
    """One sampled class an example and pass; with a probe for H − G in the same pass where that is not zero."""

    def draw(count: int) -> Tensor:
        one = partial(gauss_newton_traces, objective, chosen, generator=generator)
        inner = torch.stack([one() for _ in range(count)]).cpu()
        return inner if chosen.affine.proved else inner + probes(count, residual=True)

    zero = torch.zeros(len(objective.layout.entries), dtype=torch.float64)
    if chosen.affine.proved:
        return stop.sampled(draw, zero, "exact", "proved", None)
    return stop.sampled(draw, zero, "gauss-newton-residual", chosen.affine.reason, None)


@dataclass(frozen=True)
class _Stop:
    """When to stop drawing."""

    tolerance: float
    max_passes: int
    on_step: Listener | None

    def sampled(
        self,
        draw: Callable[[int], Tensor],
        offset: Tensor,
        way: Way,
        proof: str,
        gauss_newton: float | None,
    ) -> HessianTrace:
        """``offset`` plus the mean of what ``draw`` returns, until its standard error is small enough."""
        samples = torch.empty(0, len(offset), dtype=torch.float64)
        value = error = math.nan
        reached = False
        while len(samples) < self.max_passes:
            samples = torch.cat([samples, draw(min(4, self.max_passes - len(samples)))])
            sums = samples.sum(dim=1)
            value = float(offset.sum() + sums.mean())
            error = float(sums.std() / math.sqrt(len(sums))) if len(sums) > 1 else math.inf
            if self.on_step is not None:
                self.on_step(len(sums), value, error)
            reached = error <= self.tolerance * max(abs(value), gauss_newton or 0.0)
            if (len(sums) >= MIN_PASSES and reached) or value != value:
                break
        count = len(samples)
        return HessianTrace(
            layers=offset + samples.mean(dim=0),
            layer_errors=samples.std(dim=0) / math.sqrt(count) if count > 1 else None,
            standard_error=error,
            converged=reached,
            way=way,
            proof=proof,
            gauss_newton=gauss_newton,
            passes=count,
            draws=count,
        )
