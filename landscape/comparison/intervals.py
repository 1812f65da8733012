"""Confidence intervals of a mean, and the number of seeds that a difference needs."""

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["t", "bootstrap"]
LEVEL = 0.95
FEWEST: dict[Method, int] = {"t": 3, "bootstrap": 8}
"""Sample sizes below which an interval decides nothing: two values leave one degree of freedom, and the bootstrap
covers far less than its level (with three values, 75 %)."""
_RESAMPLES = 9999  # with 10⁴ − 1, the 2.5 % quantiles fall on resamples
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Interval:
    """The mean of ``n`` values with their sample standard deviation, and the 95 % interval from ``low`` to ``high``.

    The ends are NaN if there is no interval, because n = 1 or a value is not finite.
    """

    mean: float
    low: float
    high: float
    spread: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends have the same sign."""
        return self.low > 0 or self.high < 0

    @property
    def is_degenerate(self) -> bool:
        """Whether the values are equal up to rounding, so that their spread predicts nothing."""
        # Means of equal numbers differ by some units of the last of 16 digits.
        return self.spread <= 1e-12 * abs(self.mean) if self.n > 1 else False


def mean_interval(values: Sequence[float], *, method: Method = "t", seed: int = 0) -> Interval:
    """The 95 % confidence interval of a mean.

    Args:
        values: Independent draws.
        method: ``"t"`` is exact for normal draws; ``"bootstrap"`` is bias-corrected and accelerated.
        seed: Seed of the bootstrap's resamples.

    Reference:
        Student 1908; Efron 1987 (BCa).
    """
    n = len(values)
    if not all(map(math.isfinite, values)) or n == 0:
        return Interval(math.nan, math.nan, math.nan, math.nan, n)
    mean = statistics.fmean(values)
    if n == 1:
        return Interval(mean, math.nan, math.nan, math.nan, 1)
    spread = statistics.stdev(values)
    point = Interval(mean, mean, mean, spread, n)
    if point.is_degenerate:
        return point
    if method == "bootstrap":
        return Interval(mean, *_bootstrap(values, seed), spread, n)
    from scipy import stats

    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, spread, n)


@functools.lru_cache(maxsize=1024)  # a table asks several times for each of its differences
def seeds_needed(mean: float, spread: float, *, power: float = 0.8) -> int | None:
    """Number of paired seeds for which the 95 % interval of a difference excludes zero with probability ``power``.

    Args:
        mean: The difference.
        spread: Its standard deviation over seeds.
        power: The probability.

    Returns:
        The number, or ``None`` if it is over a thousand.

    Reference:
        Cohen 1988, the noncentral t distribution.
    """
    n = np.arange(2, _MOST_SEEDS + 1)
    enough = _power(abs(mean) / spread, n) >= power
    return int(n[enough.argmax()]) if enough.any() else None


def _power(effect: float, n: NDArray[np.int_]) -> NDArray[np.float64]:
    """Probability that the interval of ``n`` draws from N(``effect``, 1) excludes zero."""
    from scipy import special

    edge = special.stdtrit(n - 1, 0.5 + LEVEL / 2)
    shift = effect * np.sqrt(n)
    power = 1 - special.nctdtr(n - 1, shift, edge) + special.nctdtr(n - 1, shift, -edge)
    # nctdtr loses all digits far from zero, where the power is 1 to double precision anyway.
    return np.where((shift > 8) & (shift > 2 * edge), 1.0, power)


def _bootstrap(values: Sequence[float], seed: int) -> tuple[float, float]:
    from scipy import stats

    interval = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=_RESAMPLES,
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
