"""Tr H by the cheapest way that applies: an exact sum, or the kind of draws that is predicted to need the least work.

1. If the outputs are proved piecewise affine in each parameter, Tr H = Tr G, which is a sum of squared
   per-example gradients: exact, one backward pass a class (with very many classes, sampled classes).
2. Otherwise, if every parameter is used once by an operation that is linear in it, Tr H from probes of their own for
   every example.
3. Otherwise, if Tr G can be computed: Tr G exactly, and Tr (H − G) from probes drawn afresh for every batch.
4. Otherwise Tr H from such probes.
5. Where the first draws of 2 to 4 show that many more are needed, Tr H by deflated probes: exactly on a Krylov space
   that grows as long as that pays, and from probes on the rest, if that is predicted to be less work.

The number of draws follows from the standard error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.curvature.example_probes import PairOfPasses, pairs_of_passes, pooled
from landscape.curvature.gauss_newton_trace import (
    MANY_CLASSES,
    GaussNewtonPlan,
    gauss_newton_traces,
    plan,
    rounding_of_trace,
)
from landscape.curvature.operators import hessian
from landscape.curvature.piecewise_affine import described
from landscape.draws import Draws
from landscape.errors import InputError, OutOfMemory, ProcessFailed, UsageError, is_out_of_memory
from landscape.linalg.deflated_trace import BLOCK as COLUMNS
from landscape.linalg.deflated_trace import FIRST, DeflatedTrace
from landscape.linalg.hutchinson import mean_of_draws
from landscape.objective import Objective
from landscape.objective.batch import Batch
from landscape.objective.graphs import HessianGraph, ResidualGraph
from landscape.objective.memory import available_bytes
from landscape.objective.products import matrix_products
from landscape.objective.risk import Risk
from landscape.reductions import dot

# Passes over the data before the first look at the standard error: stopping after 2 was seen to claim an error of
# 1.8 % where it was 5.4 %.
MIN_PASSES = 8
# The same for probes of every example, as degrees of freedom: two passes have hundreds of draws.
MIN_FREEDOM = 20
# Passes, or pairs of passes, between two looks: one graph serves them all.
BLOCK = 4
# Plain products that a pair of passes with probes for every example takes, roughly, as seen on a small ViT.
PAIR_COST = 3.0
# Products that are still needed for deflated probes to be tried.
MANY_PRODUCTS = 32.0
# The share of the work that is still needed which is spent to see whether another kind of draws needs less.
TRIAL = 0.3
# The share of the memory that is left which their space and its images may take.
MEMORY_SHARE = 0.25
# The numbers of the substreams of the draws.
_EXAMPLES, _CLASSES, _PROBES, _DEFLATED = range(4)

Way = Literal[
    "exact", "sampled-classes", "example-probes", "gauss-newton-residual", "deflated-probes", "probes"
]


@dataclass(frozen=True)
class HessianTrace:
    """Tr H, in total and by layer, and how it was computed.

    Attributes:
        layers: The part of every free parameter tensor, ``(parameters,)``; their sum is Tr H.
        layer_errors: Their standard errors; ``None`` if nothing was drawn.
        standard_error: That of the sum; ``None`` if nothing was drawn.
        converged: Whether the standard error met the tolerance; ``None`` if nothing was drawn.
        way: How it was computed; ``"exact"`` if nothing was drawn.
        proof: ``"proved"``, or why Tr H = Tr G is not proved.
        gauss_newton: Tr G, if it was computed.
        passes: Passes over the data with probes or sampled classes, and products for a deflated space.
        draws: The number of independent draws that give as good a standard error: the passes, or more.
        rounding: The estimated rounding error of an exact trace; ``None`` in double precision.
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
    draws: Draws,
    on_step: Callable[[int, float, float, float], None] | None = None,
) -> HessianTrace:
    """Tr ∇²L(θ), with a standard error of at most ``tolerance`` times max(|Tr H|, Tr G).

    For a trace that is a small difference of large parts, a tighter relative error is not affordable. ``on_step`` is
    called with the passes so far, the estimate, its standard error and the one to reach.
    """
    estimator = _Estimator(objective, objective.cached(plan), tolerance, max_passes, draws, on_step)
    try:
        trace = estimator.by_parts()
    except Exception as failure:  # a network that was examined on one batch may raise anything on another
        if isinstance(failure, (UsageError, InputError, OutOfMemory, ProcessFailed)) or is_out_of_memory(
            failure
        ):
            raise
        trace, reason = None, f"examples of some batch cannot be taken apart ({described(failure)})"
        reason = objective.group.decided(reason)  # a process in which nothing failed knows less of it
    else:
        reason = estimator.plan.obstacle
    return trace or estimator.drawn(partial(estimator.probes, residual=False), None, "probes", reason)


@dataclass(frozen=True)
class _Estimator:
    """The ways to the trace of one objective."""

    objective: Objective
    plan: GaussNewtonPlan
    tolerance: float
    max_passes: int
    draws: Draws
    on_step: Callable[[int, float, float, float], None] | None

    def by_parts(self) -> HessianTrace | None:
        """The trace by the first applicable way that takes batches apart; ``None`` if none applies."""
        if self.plan.by_example and self.max_passes > 1:
            return self.by_example()
        if self.plan.obstacle:
            return None
        if self.plan.outputs > MANY_CLASSES:
            return self.by_class()
        inner = self.gauss_newton()
        if not self.plan.affine.proved:
            draw = partial(self.probes, residual=True)
            return self.drawn(draw, inner, "gauss-newton-residual", self.plan.affine.reason)
        total, rounding = float(inner.sum()), None
        if self.objective.point.dtype == torch.float32:
            relative = rounding_of_trace(self.objective, self.plan)
            rounding = None if relative is None else relative * abs(total)
        return HessianTrace(inner, None, None, None, "exact", "proved", total, rounding=rounding)

    def goal(self, value: float, scale: float) -> float:
        """The standard error to reach."""
        return self.tolerance * max(abs(value), scale)

    def report(self, passes: int, value: float, error: float, scale: float) -> None:
        """Passes the progress on."""
        if self.on_step is not None:
            self.on_step(passes, value, error, self.goal(value, scale))

    def gauss_newton(self) -> Tensor:
        """Tr G by parameter tensor, ``(parameters,)``."""
        return self.objective.cached(gauss_newton_traces, self.plan).cpu()

    def probes(self, numbers: range, *, residual: bool) -> Tensor:
        """Independent estimates of Tr H, or of Tr (H − G), ``(numbers, parameters)``."""
        draws = self.draws.fold(_PROBES)
        return quadratic_forms(self.objective, draws=draws, numbers=numbers, less_gauss_newton=residual)

    def by_example(self) -> HessianTrace:
        """Two probes an example at a time, until the standard error is small enough and known well enough.

        They are for H − G alone if there is an exact Tr G to add, because most of the variance is that of G.
        """
        has_inner = not self.plan.obstacle and self.plan.outputs <= MANY_CLASSES
        inner = self.gauss_newton() if has_inner else None
        scale = 0.0 if inner is None else float(inner.sum())
        # Pairs of passes with all operations probed together, and with each probed by itself.
        pairs: dict[bool, list[PairOfPasses]] = {False: [], True: []}
        apart, tried, count, passes = False, False, 1, 0
        while True:
            numbers = range(passes // 2, passes // 2 + count)
            draws = [self.draws.fold(_EXAMPLES).fold(number) for number in numbers]
            pairs[apart] += pairs_of_passes(
                self.objective, draws=draws, less_gauss_newton=has_inner, apart=apart
            )
            passes += 2 * count
            means, errors, error, freedom = pooled(pairs[apart])
            layers = means if inner is None else inner + means
            value = float(layers.sum())
            goal = self.goal(value, scale)
            self.report(passes, value, error, scale)
            converged = error <= goal
            if (converged and freedom >= MIN_FREEDOM) or passes + 2 > self.max_passes or math.isnan(value):
                break
            apart = self._apart(pairs, goal)
            rest = self._work(pairs[apart], goal, apart) if pairs[apart] else 0.0
            # Once, and when it is known what is left: the products of a trial that fails are in vain.
            if not tried and freedom >= MIN_FREEDOM / 2 and rest >= MANY_PRODUCTS:
                tried = True
                if deflated := self._deflated(rest, passes, scale):
                    return self._by_deflation(deflated, passes, scale if has_inner else None)
            count = _pairs_to_go(pooled(pairs[apart]) if pairs[apart] else None, goal, len(pairs[apart]))
            count = min(count, (self.max_passes - passes) // 2)
        return HessianTrace(
            layers=layers,
            layer_errors=errors,
            standard_error=error,
            converged=converged,
            way="example-probes",
            proof=self.plan.affine.reason or self.plan.obstacle,
            gauss_newton=scale if has_inner else None,
            passes=passes,
            draws=1 + int(min(freedom, 1e9)),
        )

    def _work(self, pairs: Sequence[PairOfPasses], goal: float, apart: bool) -> float:
        """The work that pairs of passes of a kind still are, in products."""
        _, _, error, _ = pooled(pairs)
        needed = len(pairs) * ((error / goal) ** 2 - 1) if goal > 0 else 1e9
        return min(needed, 1e9) * PAIR_COST * (self.plan.cost_apart if apart else 1)

    def _deflated(self, rest: float, passes: int, scale: float) -> DeflatedTrace | None:
        """Draws of a deflated trace, if with them less work is left than ``rest`` products.

        All that is spent to see it is a share of that rest, so that the attempt never costs much.
        """
        objective = self.objective
        most = self._columns(passes)
        if rest < MANY_PRODUCTS or most < 2 * FIRST:
            return None
        entries = objective.layout.entries

        def parts(x: Tensor, y: Tensor) -> Tensor:
            rows = [slice(e.offset, e.offset + e.size) for e in entries]
            return torch.stack([dot(x[place], y[place]) for place in rows], dim=1)

        deflated = DeflatedTrace(hessian(objective), self.draws.fold(_DEFLATED), parts)
        while True:
            forms = deflated.forms()
            value, variance = float(forms.mean()), float(forms.var())
            goal = self.goal(value, scale)
            self.report(passes + FIRST + deflated.columns, value, math.sqrt(variance / FIRST), scale)
            left = max(variance / goal**2, MIN_PASSES) if goal > 0 else 1e9
            pays = left > MIN_PASSES and deflated.spared() > goal**2 and deflated.columns + COLUMNS <= most
            affordable = left < rest or FIRST + deflated.columns < TRIAL * rest
            if not (pays and affordable and deflated.grow()):
                return deflated if left < rest else None

    def _columns(self, passes: int) -> int:
        """The most columns that a space may have: half of the passes that are left, and what fits in memory."""
        a = hessian(self.objective)
        free = available_bytes(a.device)
        bytes_a_column = 2 * max(1, a.length) * self.objective.point.element_size()
        fitting = int(MEMORY_SHARE * free / bytes_a_column) if free else FIRST
        most = min((self.max_passes - passes) // 2, a.dimension, fitting)
        return self.objective.processes.decided(most)

    def _by_deflation(self, deflated: DeflatedTrace, passes: int, inner: float | None) -> HessianTrace:
        """The trace by deflated probes after so many other passes; ``inner`` is Tr G, if it is known."""
        reason, spent = self.plan.affine.reason or self.plan.obstacle, passes + FIRST + deflated.columns
        return self.sampled(deflated.draw, None, "deflated-probes", reason, spent=spent, known=inner)

    def _apart(self, pairs: Mapping[bool, Sequence[PairOfPasses]], goal: float) -> bool:
        """Whether operations are probed one by one from now on: tried where much work is left, kept if it pays."""
        if not pairs[True]:
            trial = PAIR_COST * self.plan.cost_apart
            return trial <= TRIAL * self._work(pairs[False], goal, False)
        together, one_by_one = (
            math.fsum(pair.variance for pair in pairs[kind]) / len(pairs[kind]) for kind in (False, True)
        )
        return one_by_one * self.plan.cost_apart < together

    def by_class(self) -> HessianTrace:
        """One sampled class an example and pass, with a probe for H − G in the same pass unless that is zero."""
        proved = self.plan.affine.proved

        def draw(numbers: range) -> Tensor:
            draws = [self.draws.fold(_CLASSES).fold(number) for number in numbers]
            traces = [gauss_newton_traces(self.objective, self.plan, draws=each) for each in draws]
            inner = torch.stack(traces).cpu()
            return inner if proved else inner + self.probes(numbers, residual=True)

        if proved:
            return self.sampled(draw, None, "sampled-classes", "proved")
        return self.drawn(draw, None, "gauss-newton-residual", self.plan.affine.reason)

    def drawn(
        self, draw: Callable[[range], Tensor], inner: Tensor | None, way: Way, proof: str
    ) -> HessianTrace:
        """As :meth:`sampled`, or by deflated probes where the first draws show that these need less work."""
        first = draw(range(min(MIN_PASSES, self.max_passes)))
        scale, count = 0.0 if inner is None else float(inner.sum()), len(first)
        sums = first.sum(dim=1)
        if count == MIN_PASSES and bool(sums.isfinite().all()):
            goal = self.goal(scale + float(sums.mean()), scale)
            rest = min(float(sums.var()) / goal**2 - count if goal > 0 else 1e9, 1e9)
            deflated = self._deflated(rest, count, scale)
            if deflated is not None:
                return self._by_deflation(deflated, count, None if inner is None else scale)

        def after_the_first(numbers: range) -> Tensor:
            known = first[numbers.start : numbers.stop]
            return known if len(known) == len(numbers) else draw(numbers)

        return self.sampled(after_the_first, inner, way, proof)

    def sampled(
        self,
        draw: Callable[[range], Tensor],
        inner: Tensor | None,
        way: Way,
        proof: str,
        *,
        spent: int = 0,
        known: float | None = None,
    ) -> HessianTrace:
        """Tr G, if it is given, plus the mean of draws ``(numbers, parameters)`` until its standard error is small.

        ``spent`` passes were made before; ``known`` is Tr G where draws are of Tr H all the same.
        """
        offset = 0.0 if inner is None else float(inner.sum())
        scale = offset if known is None else known
        drawn: list[Tensor] = []

        def sums(numbers: range) -> Tensor:
            drawn.append(draw(numbers))
            return drawn[-1].sum(dim=1)

        estimate = mean_of_draws(
            sums,
            block=BLOCK,
            limit=self.max_passes - spent,
            minimum=MIN_PASSES,
            tolerance=self.tolerance,
            offset=offset,
            scale=scale,
            on_step=lambda count, value, error: self.report(spent + count, value, error, scale),
        )
        samples = torch.cat(drawn)
        count, means = len(samples), samples.mean(dim=0)
        return HessianTrace(
            layers=means if inner is None else inner + means,
            layer_errors=samples.std(dim=0) / math.sqrt(count) if count > 1 else None,
            standard_error=estimate.standard_error,
            converged=estimate.converged,
            way=way,
            proof=proof,
            gauss_newton=known if inner is None else offset,
            passes=spent + count,
            draws=count,
        )


def _pairs_to_go(state: tuple[Tensor, Tensor, float, float] | None, goal: float, count: int) -> int:
    """The number of pairs of passes before the next look, from the standard error and freedom of those so far."""
    if state is None:
        return 1
    _, _, error, freedom = state
    # A little less than the estimate, which is rough at first; at most as many again as there are, and few at once.
    needed = 0.9 * (error / goal) ** 2 if goal > 0 else math.inf
    needed = max(needed, MIN_FREEDOM / max(freedom, 1.0))
    return max(1, min(BLOCK, count, math.ceil(count * (min(needed, 1e6) - 1))))


class _Drawn(Sequence[Tensor]):
    """Vectors that are drawn when they are asked for, so that they are not all there at once."""

    def __init__(self, draw: Callable[[range], Tensor], numbers: range) -> None:
        self._draw, self._numbers = draw, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        number = self._numbers[place]
        return self._draw(range(number, number + 1))


def quadratic_forms(objective: Objective, *, draws: Draws, numbers: range, less_gauss_newton: bool) -> Tensor:
    """Independent unbiased estimates of Tr H, or of Tr (H − G), layer by layer: ``(numbers, parameters)``.

    Every batch has Rademacher probes of its own, by the number of its first row: the trace is linear in the data, so
    that they cost nothing more and cut the variance by 3.3 with 4 batches and by 7 with 8. A plain product with a
    vector cannot do it. Parts of a batch share them, so that the estimate is the same where memory is short.
    """

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        shards, split = risk.replica.shards, risk.replica.layout.split
        signs = draws.fold(risk.batch_start).signs
        probes = _Drawn(lambda rows: shards.drawn(signs, rows, like=risk.replica.point)[0], numbers)

        def form(probe: Tensor, product: Tensor) -> Tensor:
            parts = zip(split(probe), split(product), strict=True)
            return torch.stack([dot(x.flatten(), y.flatten()) for x, y in parts])

        kind = ResidualGraph if less_gauss_newton else HessianGraph
        return [shards.total(torch.stack(matrix_products(risk, batch, kind, probes, each=form)))]

    # Batches are not joined: the number of the first would be that of all, and depend on where processes divide them.
    (forms,) = objective.average(visit, products=len(numbers), join=False)
    return forms.cpu()
