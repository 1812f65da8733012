"""Kendall's rank correlation τ of two quantities over runs, with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from landscape.comparison.intervals import LEVEL, Method

FEWEST = 8
"""Number of runs below which no interval is computed."""
_RESAMPLES = 2000


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
    pairs = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    n = len(pairs)
    tau = _tau(pairs)
    if n < FEWEST or not abs(tau) < 1:
        return RankCorrelation(tau, math.nan, math.nan, n)
    if method == "bootstrap":
        return RankCorrelation(tau, *_bootstrap(pairs, seed), n)
    from scipy import stats

    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(0.437 / (n - 4))
    return RankCorrelation(tau, math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half), n)


def _tau(pairs: Sequence[tuple[float, float]]) -> float:
    """τ-b, counted pair by pair."""
    agreed = tied_x = tied_y = 0
    for k, (a, b) in enumerate(pairs):
        for c, d in pairs[:k]:
            agreed += _sign(a - c) * _sign(b - d)
            tied_x += a == c
            tied_y += b == d
    total = len(pairs) * (len(pairs) - 1) // 2
    scale = math.sqrt((total - tied_x) * (total - tied_y))
    return agreed / scale if scale else math.nan


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _bootstrap(pairs: Sequence[tuple[float, float]], seed: int) -> tuple[float, float]:
    import numpy as np

    samples = np.random.default_rng(seed).integers(len(pairs), size=(_RESAMPLES, len(pairs)))
    values = np.array(pairs, dtype=np.float64)
    signs = np.sign(values[:, None] - values[None])  # (n, n, 2)
    taus = []
    for rows in samples:
        first, second = np.moveaxis(signs[np.ix_(rows, rows)], -1, 0)
        scale = math.sqrt(float(np.abs(first).sum()) * float(np.abs(second).sum()))
        taus.append(float((first * second).sum()) / scale if scale else math.nan)
    low, high = np.nanquantile(taus, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)
