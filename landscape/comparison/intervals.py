"""A mean with an interval: Student's t, or the bootstrap; and how many seeds it would take to be sure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Method = Literal["t", "bootstrap"]
LEVEL = 0.95
FEWEST: dict[Method, int] = {"t": 3, "bootstrap": 8}
"""Numbers below which an interval decides nothing: two have one degree of freedom, and the bootstrap of a few covers
far less than it says (of 3, three times in four)."""
_RESAMPLES = 9999
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Interval:
    """Where the mean of the population is likely to be.

    Attributes:
        mean: Of the sample.
        low: The lower end; NaN where there is no interval: of one number, or where one is not finite.
        high: The upper end.
        spread: Sample standard deviation (n − 1).
        n: Numbers in the sample.
    """

    mean: float
    low: float
    high: float
    spread: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends are on one side."""
        return self.low > 0 or self.high < 0

    @property
    def is_degenerate(self) -> bool:
        """Whether the numbers are equal, but for rounding: their spread says nothing of another seed's."""
        return self.spread <= 1e-12 * abs(self.mean) if self.n > 1 else False


def mean_interval(values: Sequence[float], *, method: Method = "t", seed: int = 0) -> Interval:
    """The 95 % interval of a mean.

    Args:
        values: Independent draws.
        method: ``t``: exact for normal draws; ``bootstrap``: bias-corrected and accelerated, for any.
        seed: Of the bootstrap's resamples.

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
    found = Interval(mean, mean, mean, spread, n)
    if found.is_degenerate:
        return found
    low, high = _bootstrap(values, seed) if method == "bootstrap" else _student(mean, spread, n)
    return Interval(mean, low, high, spread, n)


def seeds_needed(mean: float, spread: float, *, power: float = 0.8) -> int | None:
    """Paired seeds with which a difference of this size and spread would be found four times in five.

    Args:
        mean: The difference.
        spread: Its standard deviation over seeds.
        power: The chance that the 95 % interval then excludes zero.

    Returns:
        The number, or ``None`` if it is over a thousand.

    Reference:
        Cohen 1988, the noncentral t distribution.
    """
    effect = abs(mean) / spread
    high = 4
    while _power(effect, high) < power:
        high *= 2
        if high > 2 * _MOST_SEEDS:
            return None
    low = 2
    while low < high:
        middle = (low + high) // 2
        if _power(effect, middle) >= power:
            high = middle
        else:
            low = middle + 1
    return low if low <= _MOST_SEEDS else None


def _power(effect: float, n: int) -> float:
    """The chance that an interval of ``n`` normal draws excludes zero, if their mean is ``effect`` spreads."""
    from scipy import special

    edge = special.stdtrit(n - 1, 0.5 + LEVEL / 2)
    shift = effect * math.sqrt(n)
    # Far from zero the noncentral t distribution is beyond what is computed well, and the answer is plain.
    if shift > 8 and shift > 2 * edge:
        return 1.0
    return float(1 - special.nctdtr(n - 1, shift, edge) + special.nctdtr(n - 1, shift, -edge))


def _student(mean: float, spread: float, n: int) -> tuple[float, float]:
    from scipy import stats

    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * spread / math.sqrt(n)
    return mean - half, mean + half


def _bootstrap(values: Sequence[float], seed: int) -> tuple[float, float]:
    import numpy as np
    from scipy import stats

    found = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=_RESAMPLES,
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
