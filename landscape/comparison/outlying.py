"""Seeds that lie far from the others, by a test whose false alarms are known."""

import math
import statistics
from collections.abc import Sequence

LEVEL = 0.01
RULE = "Grubbs's test, 1 % level"


def outlying(values: Sequence[float]) -> int | None:
    """Which of the values is an outlier among normal draws; ``None`` if none is.

    The one that lies farthest from the mean, if its distance in standard deviations is one that fewer than 1 % of
    normal samples of this size have. Where all others are equal, as accuracies can be, they say nothing of how far
    is far, and none is found.

    Args:
        values: At least three finite ones; with fewer, or with one that is not finite, none is found.

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
    if len(others) == 1 or spread <= 1e-12 * abs(mean):
        return None
    t = float(stats.t.isf(LEVEL / (2 * n), n - 2))
    critical = (n - 1) / math.sqrt(n) * math.sqrt(t * t / (n - 2 + t * t))
    return far if abs(values[far] - mean) / spread > critical else None
