"""Kendall's rank correlation τ of two quantities over runs, with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape.comparison.intervals import LEVEL, Method

FEWEST = 8
"""Number of runs below which no interval is computed."""
RESAMPLES = 2000
"""Fewer than for a mean, because each takes n² comparisons."""


@dataclass(frozen=True)
class RankCorrelation:
    """τ-b of ``n`` runs with its 95 % interval from ``low`` to ``high``, whose ends are NaN if there is none.

    τ-b is 1 if every pair has the same order, −1 if every pair is reversed, and NaN if one quantity is constant.
    """

    tau: float
    low: float
    high: float
    n: int


def rank_correlation(
    x: Sequence[float], y: Sequence[float], *, method: Method = "t", seed: int = 0
) -> RankCorrelation:
    """Kendall's τ-b with a 95 % interval.

    Args:
        x: One number per run; pairs that are not finite are left out.
        y: The other quantity, in the same order.
        method: ``"t"`` is Fisher's scale, artanh τ with variance 0.437/(n − 4); ``"bootstrap"`` takes percentiles
            over resampled runs.
        seed: Seed of the resamples.

    Reference:
        Kendall 1938; Fieller, Hartley and Pearson 1957, Tests for rank correlation coefficients I.
    """
    values = np.array(list(zip(x, y, strict=True)), dtype=np.float64).reshape(-1, 2)
    values = values[np.isfinite(values).all(axis=1)]
    signs = np.sign(values[:, None] - values[None])  # the order of each pair, (n, n, 2)
    n = len(values)
    tau = float(weighted_taus(signs[..., 0], signs[..., 1], np.ones((1, n)))[0])
    if n < FEWEST or not abs(tau) < 1:  # artanh is infinite at ±1; NaN ends here too
        return RankCorrelation(tau, math.nan, math.nan, n)
    if method == "bootstrap":
        drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
        # How often each run is drawn: a pair of one run with itself is a tie, as it is in the resample.
        counts = np.array([np.bincount(rows, minlength=n) for rows in drawn], dtype=np.float64)
        taus = weighted_taus(signs[..., 0], signs[..., 1], counts)
        low, high = np.nanquantile(taus, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
        return RankCorrelation(tau, float(low), float(high), n)
    from scipy import stats

    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(0.437 / (n - 4))
    return RankCorrelation(tau, math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half), n)


def weighted_taus(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """τ-b of runs that count so often, a coefficient for each row of ``weights (resamples, n)``.

    Args:
        first: The order of each pair in one quantity, ``(n, n)``, in which a tie is 0.
        second: That in the other quantity.
        weights: How often each run counts.
    """
    both, one, other = (
        np.einsum("bi,bi->b", weights @ pairs, weights)
        for pairs in (first * second, np.abs(first), np.abs(second))
    )
    return ratio(both, one * other)


def ratio(both: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """A sum over pairs divided by the root of the product of the numbers of pairs; NaN where there is none."""
    is_there = squares > 0
    return np.where(is_there, both / np.sqrt(np.where(is_there, squares, 1.0)), math.nan)
