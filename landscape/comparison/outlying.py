"""Grubbs's test for one outlying seed."""

import math
import statistics
from collections.abc import Sequence

_LEVEL = 0.01
RULE = "Grubbs's test, 1 % level"


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
