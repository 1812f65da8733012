"""The progress of searches and of means of draws, whose number of steps is not known before."""

import itertools
import math
import statistics
from collections.abc import Sequence

# The first residuals belong to the start and not to the search.
FEWEST = 8
# Decline of the logarithm over the window; less is a plateau, whose end cannot be foreseen.
CLEAR = 0.1
# The decline must exceed the scatter about the fitted line by this factor; else it is noise.
SIGNIFICANT = 3.0
# Decline over the later half of the window relative to the earlier half. Less is a decay that levels off, as when the
# far eigenvalues have died out and a near one is left.
STEADY = 0.8
# Deviation of the last residuals from the line in logarithms; more is a new pace, of which too little is known.
SUDDEN = 0.5
# Scales the median deviation of normal noise to its standard deviation.
_NORMAL = 1.4826
# Points through which a line is laid: a median of slopes over more takes time and gains nothing.
_MOST_POINTS = 60


class Decay:
    """The completed share of an iteration, from the decay of its residuals; ``None`` where it cannot be told.

    A line is fitted to the logarithms of the last third of the residuals, by the median of the slopes between all
    pairs, which single outliers do not move, and is continued to the tolerance. There is no share while the residuals
    rise, stay, level off, change their pace or scatter more than they decline, nor after the tolerance was passed
    without an end.

    Args:
        tolerance: Of the relative residual.
        most: Iterations after which the search gives up.

    Reference:
        Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968.
    """

    def __init__(self, tolerance: float, most: int) -> None:
        self._tolerance = tolerance
        self._most = most
        self._logs: list[float] = []

    def share(self, step: int, residual: float) -> float | None:
        """The completed share after ``step`` iterations, the last of which left a relative residual."""
        self._logs.append(math.log(residual) if 0 < residual < math.inf else math.nan)
        left = self._left(step)
        return None if left is None else step / (step + left)

    def _left(self, step: int) -> float | None:
        window = self._logs[-max(FEWEST, len(self._logs) // 3) :]
        if len(window) < FEWEST or any(map(math.isnan, window)):
            return None
        stride = -(-len(window) // _MOST_POINTS)
        points = [(k, value) for k, value in enumerate(window) if (len(window) - 1 - k) % stride == 0]
        middle = len(points) // 2
        rate, early, late = (-_slope(part) for part in (points, points[: middle + 1], points[middle:]))
        level = statistics.median(value + rate * k for k, value in points)
        scatter = _NORMAL * statistics.median(abs(value + rate * k - level) for k, value in points)
        length = len(window) - 1
        doubt = SIGNIFICANT * scatter
        if rate * length <= max(CLEAR, doubt) or late < STEADY * early - 2 * doubt / length or late <= 0:
            return None
        if max(abs(value + rate * k - level) for k, value in points[-2:]) > max(SUDDEN, 2 * doubt):
            return None
        goal = math.log(self._tolerance)
        excess = statistics.median(window[-3:]) - rate - goal  # the median is that of a step ago
        if window[-1] <= goal or excess <= 0:
            return None
        return max(1.0, min(excess / min(rate, late), self._most - step))


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """The median slope between all pairs of points."""
    return statistics.median((b - a) / (k - j) for (j, a), (k, b) in itertools.combinations(points, 2))


def share_of_draws(draws: int, error: float, goal: float, *, most: int) -> float | None:
    """The completed share of a mean of independent draws, whose standard error falls with the root of their number.

    Args:
        draws: The draws so far.
        error: Their standard error.
        goal: The standard error at which they end.
        most: The draws at which they end in any case.

    Returns:
        The share, at most 1; ``None`` where it is not known.
    """
    if not (goal > 0 and 0 <= error < math.inf):
        return None
    total = min(draws * (error / goal) ** 2, most)
    return draws / max(draws, total)
