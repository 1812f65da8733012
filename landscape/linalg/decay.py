"""The progress of an eigenvalue search, from the decay of its residuals: the number of products is not known before."""

import math

# The first residuals belong to the start and not to the search.
FEWEST = 12
# Decline of the logarithm over the window; less is a plateau, whose end cannot be foreseen.
CLEAR = 0.1
# Decline over the later half of the window relative to the earlier half. Less is a decay that levels off, as when the
# far eigenvalues have died out and a near one is left.
STEADY = 0.8


class Decay:
    """The completed share of an iteration, from the decay of its residuals; ``None`` where it cannot be told.

    The decline of the logarithm over the last third of the residuals is extrapolated to the tolerance. There is no
    share while it rises, stays or levels off, nor after the tolerance was passed without an end.

    Args:
        tolerance: Of the relative residual.
        most: Iterations after which the search gives up.
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
        if len(window) < FEWEST:
            return None
        middle = (len(window) - 1) // 2
        early = (window[0] - window[middle]) / middle
        late = (window[middle] - window[-1]) / (len(window) - 1 - middle)
        decline = window[0] - window[-1]
        excess = window[-1] - math.log(self._tolerance)
        # Not the opposite with "or": a NaN among them must yield None, too.
        if not (decline > CLEAR and late >= STEADY * early and late > 0 and excess > 0):
            return None
        return max(1.0, min(excess / late, self._most - step))
