"""One measure of one row of a table: a number per run, and the test for one that is far from the others."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RULE = "Grubbs's test, 1 % level"
_LEVEL = 0.01


@dataclass(frozen=True)
class Cell:
    """The values of the runs of a row, one per seed.

    ``spread`` and ``monte_carlo`` are different uncertainties: the first is that of training another seed, the second
    that of estimating each run's number from samples.

    Attributes:
        values: One value per run.
        errors: Standard error of each value, ``None`` if it is exact on its data; empty if all are.
        seeds: Seeds of the runs; empty if unknown.
        converged: Whether all values have converged.
    """

    values: tuple[float, ...]
    errors: tuple[float | None, ...] = ()
    seeds: tuple[object, ...] = ()
    converged: bool = True

    @property
    def mean(self) -> float:
        """Mean over runs; not finite if one of them is not."""
        if not all(map(math.isfinite, self.values)):
            return sum(self.values)  # fmean raises an error for the sum of ∞ and −∞
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs (n − 1); ``None`` for one run, NaN if a value is not finite."""
        if len(self.values) < 2:
            return None
        return statistics.stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan

    @property
    def monte_carlo(self) -> float | None:
        """Standard error of the mean from sampling within the runs; ``None`` if nothing is sampled."""
        errors = [error for error in self.errors if error is not None]
        return math.hypot(*errors) / len(self.values) if errors else None

    @property
    def not_finite(self) -> tuple[object, ...]:
        """The seeds whose value is not finite."""
        seeds = self.seeds or tuple(range(len(self.values)))
        return tuple(s for s, value in zip(seeds, self.values, strict=True) if not math.isfinite(value))


def outlying(values: Sequence[float]) -> int | None:
    """Index of the outlier among normal draws, at the 1 % level; ``None`` if there is none.

    The candidate is the value farthest from the mean.

    Args:
        values: With fewer than three, or with one that is not finite, there is no outlier.

    Reference:
        Grubbs 1969, Procedures for detecting outlying observations in samples.
    """
    from scipy import stats

    n = len(values)
    if n < 3 or not all(map(math.isfinite, values)):
        return None
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    far = max(range(n), key=lambda k: abs(values[k] - mean))
    others = {value for k, value in enumerate(values) if k != far}
    # Equal others, which accuracies can be, say nothing of how far is far: the test would always reject.
    if len(others) == 1 or spread <= 1e-12 * abs(mean):
        return None
    t = float(stats.t.isf(_LEVEL / (2 * n), n - 2))
    critical = (n - 1) / math.sqrt(n) * math.sqrt(t * t / (n - 2 + t * t))
    return far if abs(values[far] - mean) / spread > critical else None
