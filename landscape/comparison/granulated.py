"""Rank correlation over runs that differ in one field alone, and with the effect of a third quantity removed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape.comparison.intervals import LEVEL
from landscape.comparison.rank_correlation import FEWEST, RESAMPLES, RankCorrelation, ratio, weighted_taus

Array = NDArray[np.float64]
_Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""The numbers of the runs of each pair."""


@dataclass(frozen=True)
class Granulated:
    """Coefficients within one changed field.

    Attributes:
        by_field: τ over the pairs of runs that differ in this field and in no other.
        psi: Their mean over the fields, with its interval; ``n`` is the number of fields.
    """

    by_field: Mapping[str, float]
    psi: RankCorrelation


def granulated(
    x: Sequence[float], y: Sequence[float], recipes: Sequence[Mapping[str, object]], *, seed: int = 0
) -> Granulated:
    """Kendall's τ-b over pairs of runs that differ in one field of the recipe, by field, and their mean Ψ.

    A quantity that only follows the learning rate has a high τ over all runs and none within the other fields.

    Args:
        x: One number per run.
        y: The other quantity, in the same order; pairs that are not finite are left out.
        recipes: What the runs are of: the fields that count. Runs of one recipe are repetitions.
        seed: Seed of the resamples.

    Returns:
        The coefficients; the 95 % interval of Ψ has the percentiles over resampled runs, and NaN for its ends below
        :data:`~landscape.comparison.rank_correlation.FEWEST` runs.

    Reference:
        Jiang et al. 2020, Fantastic generalization measures and where to find them, arXiv 1912.02178 (eq. 6 and 7).
    """
    values = np.array([x, y], dtype=np.float64).T
    kept = np.array([math.isfinite(a) and math.isfinite(b) for a, b in values], dtype=bool)
    recipes = [recipe for recipe, is_kept in zip(recipes, kept, strict=True) if is_kept]
    x_of, y_of = values[kept].T
    pairs = _differing_in_one(recipes)

    def taus(weights: Array) -> dict[str, Array]:
        return {name: _taus_of_pairs(x_of, y_of, of, weights) for name, of in pairs.items()}

    def means(weights: Array) -> Array:
        found = np.stack(list(taus(weights).values()))
        counts = np.isfinite(found).sum(0)
        return np.where(counts > 0, np.nansum(found, axis=0) / np.maximum(counts, 1), math.nan)

    n = len(recipes)
    by_field = {name: float(tau[0]) for name, tau in taus(np.ones((1, n))).items() if math.isfinite(tau[0])}
    if not by_field:
        return Granulated({}, RankCorrelation(math.nan, math.nan, math.nan, 0))
    low, high = _percentiles(means, n, seed)
    return Granulated(
        by_field, RankCorrelation(sum(by_field.values()) / len(by_field), low, high, len(by_field))
    )


def partial_rank_correlation(
    x: Sequence[float], y: Sequence[float], z: Sequence[float], *, seed: int = 0
) -> RankCorrelation:
    """Kendall's τ of two quantities with the effect of a third removed, and its 95 % interval over resampled runs.

    It is (τ_xy − τ_xz τ_yz)/√((1 − τ_xz²)(1 − τ_yz²)) with coefficients τ-b, and NaN if x or y has the order of z.

    Args:
        x: One number per run.
        y: The second quantity, in the same order.
        z: The third, whose effect is removed; triples that are not finite are left out.
        seed: Seed of the resamples.

    Reference:
        Kendall 1942, Partial rank correlation, Biometrika 32.
    """
    values = np.array([x, y, z], dtype=np.float64)
    values = values[:, np.isfinite(values).all(axis=0)]
    first, second, third = map(_orders, values)
    n = values.shape[1]

    def partial(weights: Array) -> Array:
        xy, xz, yz = (
            weighted_taus(*pair, weights) for pair in ((first, second), (first, third), (second, third))
        )
        left = (1 - xz**2) * (1 - yz**2)
        found: Array = (xy - xz * yz) / np.sqrt(np.where(left > 1e-12, left, math.nan))
        return found

    low, high = _percentiles(partial, n, seed)
    return RankCorrelation(float(partial(np.ones((1, n)))[0]) if n else math.nan, low, high, n)


def _orders(values: Array) -> Array:
    """The sign of each difference, ``(n, n)``."""
    return np.sign(values[:, None] - values[None])


def _taus_of_pairs(x: Array, y: Array, pairs: _Pairs, weights: Array) -> Array:
    """τ-b over some pairs, by row of ``weights (resamples, n)``: how often each run is in a resample."""
    left, right = pairs
    first, second = (np.sign(of[left] - of[right]) for of in (x, y))
    often = weights[:, left] * weights[:, right]
    return ratio(often @ (first * second), (often @ np.abs(first)) * (often @ np.abs(second)))


def _percentiles(statistic: Callable[[Array], Array], n: int, seed: int) -> tuple[float, float]:
    if n < FEWEST:
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    found = statistic(drawn)
    found = found[np.isfinite(found)]
    if not len(found) or found.min() == found.max():  # an order without a single exception
        return math.nan, math.nan
    low, high = np.quantile(found, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def _differing_in_one(recipes: Sequence[Mapping[str, object]]) -> dict[str, _Pairs]:
    """By field: the pairs of runs that differ in it and in no other."""
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    unlike = np.zeros((len(names), len(recipes), len(recipes)), dtype=bool)
    for place, name in enumerate(names):
        known: dict[str, int] = {}  # as text, because values may be lists, which have no hash
        codes = np.array([known.setdefault(str(recipe.get(name)), len(known)) for recipe in recipes])
        unlike[place] = codes[:, None] != codes[None]
    alone = np.triu(unlike.sum(axis=0) == 1)
    pairs = {name: np.nonzero(differs & alone) for name, differs in zip(names, unlike, strict=True)}
    return {name: (left, right) for name, (left, right) in pairs.items() if len(left)}
