"""The scale at which a change reaches a target, by doubling and bisection: for losses and for steps of accuracies."""

import math
from collections.abc import Callable
from dataclasses import dataclass

GROWTH = 2.0
"""The factor between two scales that are tried before the target is enclosed."""
FURTHEST = 40
"""How many factors the search goes up or down from its start."""


@dataclass(frozen=True)
class Crossing:
    """A scale, and the two between which the change reaches the target: below it at one, and above it at the other."""

    scale: float
    low: float
    high: float

    @property
    def residual(self) -> float:
        """How far the scale can be from the one that is enclosed."""
        return max(self.scale - self.low, self.high - self.scale)


def crossing(
    change: Callable[[float], float], *, target: float, start: float, tolerance: float
) -> Crossing | None:
    """Where ``change`` reaches ``target``, relative to ``tolerance``; ``None`` if it does not within 40 doublings.

    Between the last two scales the change is taken to be linear. If it crosses the target more than once, the scale
    is one of these, and not always the smallest. A change that is not a number is above the target.
    """
    low, high, below, above = 0.0, math.inf, 0.0, math.inf
    scale, tried = start, 0
    while high > (1 + tolerance) * low:
        value = change(scale)
        if value < target:
            low, below = scale, value
        else:
            high, above = scale, value
        if low > 0 and high < math.inf:
            scale = math.sqrt(low * high)
            continue
        tried += 1
        if tried > FURTHEST:
            return None
        scale = scale * GROWTH if high == math.inf else scale / GROWTH
    share = (target - below) / (above - below) if math.isfinite(above) and above > below else 0.5
    return Crossing(low + share * (high - low), low, high)
