"""How far an eigenvalue search is, read off its residuals: nobody knows beforehand how many products it takes."""

import math

FEWEST = 12
"""Residuals before anything is said: the first ones belong to the start, not to the search."""

CLEAR = 0.1
"""The decline of the logarithm over the window: less is a plateau, whose end cannot be foreseen."""

STEADY = 0.8
"""The decline over the later half of the window as a share of that over the earlier half: less is a decay that levels
off, as when the far eigenvalues have died out and a near one is left."""


class Decay:
    """The share of an iteration that is done, from the decay of its residuals; ``None`` where that cannot be told.

    The decline of the logarithm over the last third of the residuals is followed down to the tolerance. While it rises,
    stays or levels off, and after the tolerance was passed without an end, nothing is said.

    Args:
        tolerance: Of the relative residual.
        most: Iterations after which the search gives up.
    """

    def __init__(self, tolerance: float, most: int) -> None:
        self._tolerance = tolerance
        self._most = most
        self._logs: list[float] = []

    def share(self, step: int, residual: float) -> float | None:
        """The share done after ``step`` iterations, the last of which left a relative residual."""
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
        # Written so that a NaN among them says nothing either.
        if not (decline > CLEAR and late >= STEADY * early and late > 0 and excess > 0):
            return None
        return max(1.0, min(excess / late, self._most - step))
