"""What a measure by itself is expected to take: passes over the data, and memory, which each measure states itself."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from landscape.curvature.eigenpairs import longest_basis
from landscape.linalg.basis import reserved_rows
from landscape.linalg.lanczos import longest
from landscape.objective import Objective
from landscape.records.estimate import Cost

Settings = Mapping[str, Any]
"""Every option of a measure with its value."""


@dataclass(frozen=True)
class Expected:
    """The passes over the data that a measure by itself takes.

    The numbers of products and draws are those of trained networks at the default tolerances, and for eigenvalues also
    those of untrained ones, which have no gap in their spectrum and take the most (from benchmarks/restarts.py, and for
    several pairs the same networks).

    Attributes:
        typical: The cost where it is low.
        high: The numbers of those passes of which it has more where it is high.
        budget: The numbers of those passes that its options limit.
    """

    typical: Cost
    high: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)

    def costs(self) -> tuple[Cost, Cost, Cost]:
        """The cost where it is low, where it is high, and if the budget is used up."""
        most = dataclasses.replace(self.typical, **self.budget)
        costs = self.typical, dataclasses.replace(self.typical, **self.high)
        few, many = (min(cost, most, key=lambda each: each.gradient_equivalents) for cost in costs)
        return few, many, most


@dataclass(frozen=True)
class Short:
    """A run on the first batch that shows the memory of the whole.

    Attributes:
        growth: The bytes that a basis of vectors is larger after so many products than after that run.
        run: That run; ``None`` for the measure itself with a small budget.
    """

    growth: Callable[[float], int] = lambda products: 0
    run: Callable[[Objective], object] | None = None


CostOf = Callable[[Objective, Settings], Cost | Expected]
ShortOf = Callable[[Objective, Settings, Settings], Short]
"""A function of the first batch, the settings with a small budget, and those of the measure."""

# Entered by the decorator ``measure_named``, by the names of the measures.
COSTS: dict[str, Cost | CostOf] = {}
SHORT: dict[str, ShortOf] = {}


def basis_growth(
    first: Objective, budgets: Sequence[int], *, length: int | None = None, count: int = 1
) -> Callable[[float], int]:
    """:attr:`Short.growth` of a search for eigenvectors.

    Args:
        first: The first batch.
        budgets: The most products of a short run, and those of the measure.
        length: Of the vectors; by default that of θ.
        count: The number of eigenvectors.
    """
    length = len(first.point) if length is None else length

    def growth(products: float) -> int:
        row, room = length * first.point.element_size(), longest_basis(first, length, count)
        small, usual = (longest(length, count, budget, room) for budget in budgets)
        before = reserved_rows(row, small, min(small, min(budgets[0], round(products)) + 1))
        return row * (reserved_rows(row, usual, min(usual, round(products) + 1)) - before)

    return growth
