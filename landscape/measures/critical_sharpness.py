"""Critical sharpness: the curvature at which the next step of a given direction would stop to lower the loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from landscape.measures.expected import Expected
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt

_FURTHEST = 100.0
"""How many times further a step is tried than the last one, where the loss still falls."""


@measure_named(
    "critical-sharpness",
    unit="loss/θ²",
    cost=lambda _, options: Expected(
        Cost(gradients=1, evaluations=6), budget={"evaluations": options["max_evaluations"]}
    ),
)
def critical_sharpness(
    objective: Objective,
    *,
    tolerance: Positive = 0.01,
    max_evaluations: PositiveInt = 20,
    update: Tensor | None = None,
) -> Reading:
    """λ_c = 2/η_c, with η_c the learning rate from which on the next step would raise the loss.

    η_c is the root of L(θ − ηΔ) = L(θ), with Δ the optimizer's next update, or the gradient where no optimizer is
    known. Where the loss is quadratic, λ_c = ΔᵀHΔ/∇LᵀΔ. It is found by forward passes alone, fewer than ten as a rule:
    the slope (L(θ − ηΔ) − L(θ))/η is nearly linear in η, and its root is sought by false position (Illinois) between
    a learning rate that lowers the loss and one that raises it. Where the loss rises and falls more than once, the
    root may be a later one than the first. The residual is how far λ_c can be from the root that is enclosed.

    With the update or the gradient of another loss, it is the relative critical sharpness λ_c^{1→2}: the curvature of
    this loss while the other one is trained, ΔᵀH₂Δ/∇L₂ᵀΔ on a quadratic.

    Args:
        objective: The point.
        tolerance: Of η_c, relative.
        max_evaluations: The most forward passes over the data.
        update: Δ ``(n,)``: θ − ηΔ is the point after a step of learning rate η.

    Reference:
        Kalra et al. 2026, arXiv 2601.16979, section 3.
    """
    direction = objective.gradient if update is None else update
    slope = -float(objective.shards.dot(objective.gradient, direction))
    details: dict[str, object] = {"direction": "gradient" if update is None else "update"}
    if not slope < 0:
        reason = "the direction does not lower the loss: its inner product with the gradient is not positive"
        return Reading(math.nan, details={**details, "undefined": reason})
    search = _Search(
        lambda eta: (objective.evaluate(objective.point - eta * direction)[0] - objective.loss) / eta,
        slope,
        tolerance,
        max_evaluations,
    )
    # A parabola that stays above zero has its root at 4 L / |slope| or before.
    search.run(abs(objective.loss) / -slope or 1.0)
    details |= {"evaluations": search.evaluations, "interval": [search.low, search.high]}
    if search.high == math.inf:
        reason = f"the loss does not rise up to a learning rate of {search.low:.2g}"
        return Reading(math.nan, details={**details, "undefined": reason})
    value = 2 / search.root
    furthest = 2 / search.low if search.low > 0 else math.inf
    details["critical_learning_rate"] = search.root
    details["residual"] = max(furthest - value, value - 2 / search.high)
    return Reading(value, converged=search.done, details=details)


@dataclass
class _Search:
    """The root of a function that is negative at zero, between ``low`` and ``high``, of which it knows the values."""

    function: Callable[[float], float]
    at_zero: float
    tolerance: float
    most: int
    low: float = 0.0
    high: float = math.inf
    evaluations: int = 0
    above: float = math.inf

    def __post_init__(self) -> None:
        self.below = self.at_zero
        self._kept = 0  # how often in a row one end has stayed: the upper one if positive
        self._before = (0.0, self.at_zero)

    @property
    def done(self) -> bool:
        """Whether the root is known to the tolerance."""
        return math.isfinite(self.high) and self.high - self.low <= self.tolerance * self.high

    @property
    def root(self) -> float:
        """The best guess: where the line between both ends crosses zero."""
        return self._crossing(self.below, self.above)

    def run(self, first: float) -> None:
        """Encloses the root, starting from a guess."""
        guess = first
        while self.evaluations < self.most and not self.done:
            self.evaluations += 1
            value = self.function(guess)
            if value < 0:
                self._before = (self.low, self.below)
                self.low, self.below, self._kept = guess, value, max(self._kept, 0) + 1
            else:
                self.high, self._kept = guess, min(self._kept, 0) - 1
                self.above = value if math.isfinite(value) else math.inf
            guess = self._beyond() if self.high == math.inf else self._between()

    def _crossing(self, below: float, above: float) -> float:
        if not math.isfinite(above):  # the network cannot compute a point as far as the upper end
            return self.low + (self.high - self.low) / (2 if self.low > 0 else 10)
        return self.low + (self.high - self.low) * below / (below - above)

    def _between(self) -> float:
        # Illinois: an end that stays counts half as much each time, or the other would creep towards the root.
        fewer = 0.5 ** max(0, abs(self._kept) - 1)
        crossing = self._crossing(
            self.below * (fewer if self._kept < 0 else 1), self.above * (fewer if self._kept > 0 else 1)
        )
        # Not closer to an end than half the tolerance, so that the other side is enclosed as well.
        margin = min(0.45 * self.tolerance * self.high, 0.25 * (self.high - self.low))
        return min(max(crossing, self.low + margin), self.high - margin)

    def _beyond(self) -> float:
        """Where the line through the last two points crosses zero, and a little further."""
        low, earlier = self._before
        rise = self.below - earlier
        if rise <= 0:
            return _FURTHEST * self.low
        crossing = low - earlier * (self.low - low) / rise
        return min(max((1 + self.tolerance / 2) * crossing, 1.1 * self.low), _FURTHEST * self.low)
