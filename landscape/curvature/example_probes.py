"""Tr H with separate probes for every example, at the price of a product with the Hessian for all of them.

The trace is linear in the data. With independent probes vᵢ for N examples, ``(1/N) Σᵢ vᵢᵀ Hᵢ vᵢ`` has a variance
that falls like 1/N from the start, where one probe for all of them gains nothing from more data. A parameter vector
for every example does not fit in memory and is not needed: if each parameter is used once, by an operation that is
linear in it, vᵢ matters only through the movement ``uᵢ`` of the operation's result z, and

    Tr_P Hᵢ = E[uᵢᵀ (∂²ℓᵢ/∂z²) uᵢ]

for the diagonal block of the parameter P, which has no other second derivative because z is linear in P and
nothing before z depends on it. One graph of ``∂ℓ/∂z`` and one backward pass through it serve all examples and all
operations.

Two probes an example give the variance without bias: ``Σᵢ (qᵢ₁ − qᵢ₂)²/2`` estimates ``Σᵢ Var qᵢ``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from landscape.curvature.example_gradients import places_of
from landscape.curvature.linear_uses import CHUNK_ELEMENTS, Use
from landscape.curvature.recording import recorded
from landscape.draws import Draws
from landscape.objective import Objective
from landscape.objective.batch import Batch, rows_in
from landscape.objective.graphs import residual
from landscape.objective.products import second_derivatives
from landscape.objective.risk import Risk
from landscape.reductions import exact, numbers


class OutputCurvature:
    """The second derivative of a micro-batch's mean loss in the results of the operations that use parameters.

    With ``less_gauss_newton``, that of H − G: of ``Σ_c (∂ℓ/∂f_c) f_c`` with the first factor constant.
    """

    def __init__(self, risk: Risk, batch: Batch, *, less_gauss_newton: bool) -> None:
        with recorded(risk.replica.model, risk.replica.layout.names, rows_in(batch) or 0) as uses:
            loss, outputs, _ = risk.forward(batch)
        value = residual(loss, outputs) if less_gauss_newton else loss
        self.uses = uses
        self._places = places_of(uses)
        self._slopes = torch.autograd.grad(
            value, self._places, create_graph=True, allow_unused=True, materialize_grads=True
        )

    def forms(self, moves: Sequence[Tensor], *, keep: bool, apart: bool = False) -> Tensor:
        """``u_P · (∂²L/∂z² u)`` of every example and use, ``(B, uses)`` in float64.

        u is the sum of the movements of the results by all uses; the graph is kept for another call if ``keep``. With
        ``apart``, u are the movements of the same result alone. The mean is the same, because movements of different
        results are independent; the variance lacks their products, which are most of that of H − G where a network
        multiplies its results with each other.
        """
        movement: dict[int, Tensor] = {}
        for use, move in zip(self.uses, moves, strict=True):
            before = movement.get(id(use.place))
            movement[id(use.place)] = move if before is None else before + move
        curved = [(g, z) for z, g in zip(self._places, self._slopes, strict=True) if g.requires_grad]
        options = {"allow_unused": True, "materialize_grads": True}
        arrived: dict[int, Tensor] = {}
        if apart:
            for k, (slope, place) in enumerate(curved):
                retain = keep or k + 1 < len(curved)
                (arrived[id(place)],) = torch.autograd.grad(
                    slope, place, movement[id(place)], retain_graph=retain, **options
                )
        elif curved:
            slopes, directions = zip(*((g, movement[id(z)]) for g, z in curved), strict=True)
            products = torch.autograd.grad(slopes, self._places, directions, retain_graph=keep, **options)
            arrived = {id(place): product for place, product in zip(self._places, products, strict=True)}
        none = torch.zeros(len(moves[0]), dtype=moves[0].dtype, device=moves[0].device)
        forms = [
            (move * arrived[id(use.place)]).flatten(1).sum(1) if id(use.place) in arrived else none
            for use, move in zip(self.uses, moves, strict=True)
        ]
        return exact(torch.stack(forms, dim=1))


@dataclass(frozen=True)
class PairOfPasses:
    """The traces by parameter tensor from two passes with probes, and what their variance is known from.

    Attributes:
        means: The traces, ``(parameters,)``.
        variances: Of these means.
        variance: Of their sum.
        squares: The sum of the squares of the examples' parts of that variance: large if few examples make it up.
    """

    means: Tensor
    variances: Tensor
    variance: float
    squares: float


def pairs_of_passes(
    objective: Objective, *, draws: Sequence[Draws], less_gauss_newton: bool, apart: bool = False
) -> list[PairOfPasses]:
    """Estimates of Tr H, or of Tr (H − G), each with two probes an example, and their variances.

    For a network for which :func:`~landscape.curvature.example_gradients.uses_cover` holds, and a loss that is a mean
    over examples that do not see each other. The probes of an example depend on its number in the data, so that they
    are the same for every division into batches. One graph of a micro-batch serves all pairs.

    Args:
        objective: The point.
        draws: Those of each pair.
        less_gauss_newton: Whether the trace is that of H − G.
        apart: Whether operations are probed one by one; see :meth:`OutputCurvature.forms`.
    """

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        with second_derivatives(risk, batch):
            curvature = OutputCurvature(risk, batch, less_gauss_newton=less_gauss_newton)
            parts: list[Tensor] = []
            for k, each in enumerate(draws):
                last = k + 1 == len(draws)
                first, second = _two_probes(risk, curvature, each, apart=apart, last=last)
                parts += _moments(first, second, risk.weight)
        return parts

    sums = objective.average(visit, gradients=1, products=2 * len(draws))
    values, count, weight = numbers(*sums), len(draws), objective.total_weight
    size, pairs = len(values) // count, []
    for k in range(count):
        *layers, total, squares = values[k * size : (k + 1) * size]
        means, halves = torch.tensor(layers, dtype=torch.float64, device="cpu").reshape(2, -1)
        pairs.append(
            PairOfPasses(means, halves / (2 * weight), total / (2 * weight), squares / (4 * weight**3))
        )
    return pairs


def _moments(first: Tensor, second: Tensor, w: float) -> list[Tensor]:
    """What is averaged over the data for one pair of passes, from the forms of two probes ``(B, parameters)``."""
    halves = (first - second).square() / 2
    total = (first.sum(1) - second.sum(1)).square() / 2
    # The forms are shares of the batch's mean, and the batch's share of the data is its weight over that of all:
    # variances need one more factor w, squares of variances three.
    return [(first + second).sum(0) / 2, w * halves.sum(0), w * total.sum(), w**3 * total.square().sum()]


class _Signs:
    """The signs of the uses of parameters for a micro-batch that begins with the example number ``start``, twice.

    A call of the generator has a cost of its own, on a GPU that of a hundred kernels, so that few signs are drawn
    together. The number of a row is that of the example, with those of use and probe above it.
    """

    def __init__(self, draws: Draws, start: int, uses: Sequence[Use]) -> None:
        self._draws, self._start, self._uses = draws, start, uses
        self._together: dict[tuple[int, int], Tensor] = {}
        alike: dict[object, list[int]] = {}
        for k, use in enumerate(uses):
            alike.setdefault((use.map.width, use.place.dtype, len(use.place)), []).append(k)
        for members in alike.values():
            like, width = uses[members[0]].place, uses[members[0]].map.width
            keys = [(k, probe) for k in members for probe in range(2)]
            if len(keys) * len(like) * width <= CHUNK_ELEMENTS:
                rows = [self._numbers(*key, range(len(like))) for key in keys]
                each = [torch.arange(part.start, part.stop, device=like.device) for part in rows]
                drawn = draws.signs(torch.cat(each), width, like=like)
                self._together.update(zip(keys, drawn.view(len(keys), len(like), width), strict=True))

    def _numbers(self, use: int, probe: int, rows: range) -> range:
        first = self._start + ((2 * use + probe) << 40)
        return range(first + rows.start, first + rows.stop)

    def __call__(self, use: int, probe: int, rows: range, columns: int) -> Tensor:
        if (use, probe) in self._together:
            return self._together[use, probe][rows.start : rows.stop]
        return self._draws.signs(self._numbers(use, probe, rows), columns, like=self._uses[use].place)


def _two_probes(
    risk: Risk, curvature: OutputCurvature, draws: Draws, *, apart: bool, last: bool
) -> list[Tensor]:
    """``uᵢᵀ (∂²ℓ_B/∂z²) uᵢ`` of every example and free parameter for two probes, each ``(B, parameters)``."""
    uses, forms = curvature.uses, []
    number = {id(use.parameter): k for k, use in enumerate(uses)}
    order = [number[id(parameter)] for parameter in risk.replica.parameters]
    signs = _Signs(draws, risk.place[0], uses)
    for probe in range(2):
        moves = [use.map.shaken(partial(signs, k, probe)) for k, use in enumerate(uses)]
        keep = probe == 0 or not last
        forms.append(curvature.forms(moves, keep=keep, apart=apart)[:, order])
    return forms


def pooled(pairs: Sequence[PairOfPasses]) -> tuple[Tensor, Tensor, float, float]:
    """Means and their standard errors, the standard error of their sum, and its degrees of freedom.

    These are few where few examples make up the variance, which is then not known well (as in Student's t).
    """
    count = len(pairs)
    means = torch.stack([pair.means for pair in pairs]).mean(0)
    errors = torch.stack([pair.variances for pair in pairs]).mean(0).div(count).sqrt()
    variance = math.fsum(pair.variance for pair in pairs)
    squares = math.fsum(pair.squares for pair in pairs)
    freedom = 2 * variance**2 / squares if squares > 0 else math.inf
    return means, errors, math.sqrt(variance) / count, freedom
