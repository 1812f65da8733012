"""The expected cost of measures, from their options and one measured Hessian product."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from landscape.measures.expected import COSTS
from landscape.measures.peak_memory import peaks
from landscape.measures.table import MEASURES
from landscape.objective import Objective
from landscape.objective.memory import available_bytes
from landscape.records.estimate import Cost
from landscape.registry.names import Specification


def expected_cost(objective: Objective, specification: Specification) -> tuple[Cost, Cost, Cost]:
    """The cost of a measure by itself where it is low, where it is high, and if its budget is used up."""
    stated = COSTS[specification.name]
    cost = stated if isinstance(stated, Cost) else stated(objective, MEASURES.settings(specification))
    return (cost, cost, cost) if isinstance(cost, Cost) else cost.costs()


@dataclass(frozen=True)
class Line:
    """The likely cost of one measure by itself, in gradient-equivalents, and the memory that it takes.

    Attributes:
        name: The measure.
        few: Its cost where that is low.
        many: Its cost where that is high.
        most: That of its whole budget.
        peaks: The memory that it takes at its peak besides network, data and objective, in bytes, with so many
            products; ``None`` if unknown.
    """

    name: str
    few: float
    many: float
    most: float
    peaks: tuple[int, int] | None = None


@dataclass(frozen=True)
class Forecast:
    """The expected cost of measures of one objective.

    Attributes:
        seconds: The time of one gradient over all the data.
        by_product: Whether that follows from the time of a product, which some measure takes.
        graph_bytes: The size of the graph of one batch's gradient; ``None`` if it cannot be measured, or is not needed.
        available: Bytes of free memory.
        vector: Bytes of a vector of the dimension of θ.
        recalibration: Seconds of the pass that recomputes batch-norm statistics at every point, which the lines do
            not include; ``None`` if the statistics are stored.
    """

    lines: tuple[Line, ...]
    seconds: float
    by_product: bool
    graph_bytes: int | None
    batches: int
    available: int
    vector: int
    recalibration: float | None = None

    @property
    def peaks(self) -> tuple[int, int] | None:
        """The memory of all measures in bytes, which share the gradient; ``None`` if that of one is unknown."""
        known = [line.peaks for line in self.lines if line.peaks is not None]
        if not known or len(known) < len(self.lines):
            return None
        shared = self.vector if len(known) > 1 else 0
        return max(few for few, _ in known) + shared, max(many for _, many in known) + shared

    @property
    def likely_seconds(self) -> tuple[float, float]:
        """The likely time of all measures, nothing shared, where it is low and where it is high."""
        few, many = (
            sum(costs) for costs in zip(*((line.few, line.many) for line in self.lines), strict=True)
        )
        return self.seconds * few, self.seconds * many

    @property
    def most_seconds(self) -> float:
        """The time of all measures if their budgets are used up."""
        return self.seconds * sum(line.most for line in self.lines)


def forecast(objective: Objective, specifications: Sequence[Specification]) -> Forecast:
    """Takes each measure of the first batch with a small budget, and times a gradient or Hessian product there."""
    fixed, recalibration = objective.at_fixed_statistics(), None
    if fixed is not objective:
        start = time.perf_counter()
        # At a copy of the point, where nothing is cached, so that the pass is timed.
        fixed = objective.at(objective.point).at_fixed_statistics()
        recalibration = time.perf_counter() - start
    costs = [expected_cost(objective, specification) for specification in specifications]
    each = partial(
        peaks,
        specifications=specifications,
        batches=math.ceil(len(objective.batch_sizes) / objective.group.world),
        products=[(few.products, many.products) for few, many, _ in costs],
    )
    # Where no measure takes products, one would need more memory than all of them.
    by_product = any(few.products for few, _, _ in costs)
    ((sizes, seconds, examples, graph_bytes, available),) = fixed.by_batch(
        lambda first: (each(first), *_timed(first, by_product)), only={0}
    )
    unit = Cost(gradients=1, products=1 if by_product else 0)
    return Forecast(
        lines=tuple(
            _line(specification, cost, size)
            for specification, cost, size in zip(specifications, costs, sizes, strict=True)
        ),
        seconds=seconds / unit.gradient_equivalents * objective.num_examples / examples,
        by_product=by_product,
        graph_bytes=graph_bytes,
        batches=len(objective.batch_sizes),
        available=available,
        vector=objective.point.nbytes,
        recalibration=recalibration,
    )


def _timed(first: Objective, by_product: bool) -> tuple[float, int, int | None, int]:
    """The seconds of a gradient or product on a batch, its examples, the bytes of the largest graph and free memory."""
    vector, seconds = torch.ones_like(first.point), 0.0
    for _ in range(2):
        first = first.at(first.point)  # at another copy, so that the graph is built again
        start = time.perf_counter()
        _ = first.hessian_product(vector) if by_product else first.gradient
        if first.point.device.type == "cuda":
            torch.cuda.synchronize(first.point.device)
        seconds = time.perf_counter() - start
    return seconds, first.num_examples, first.engine.graphs.largest, available_bytes(first.point.device)


def _line(specification: Specification, costs: Sequence[Cost], sizes: tuple[int, int] | None) -> Line:
    few, many, most = (cost.gradient_equivalents for cost in costs)
    return Line(str(specification), few, many, most, sizes)
