"""What measures are going to cost, from one measured product."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from landscape.measures.reading import SPENDS
from landscape.measures.table import MEASURES
from landscape.objective import Objective
from landscape.objective.memory import available_bytes
from landscape.records.estimate import Cost
from landscape.registry.names import Specification


@dataclass(frozen=True)
class Line:
    """The forecast of one measure, alone: in gradient-equivalents.

    Attributes:
        name: The measure as it was asked for.
        typical: What it is likely to take.
        most: What it takes if its budget is used up.
    """

    name: str
    typical: float
    most: float


@dataclass(frozen=True)
class Forecast:
    """What measures cost here.

    Attributes:
        lines: One a measure.
        seconds: Of one gradient over all the data.
        graph_bytes: The graph of one batch's gradient; ``None`` where that cannot be told.
        batches: How many batches there are.
        available: Bytes of memory that are free.
        recalibration: Seconds of the pass that recomputes batch-norm statistics at every point, not part of the
            lines; ``None`` where they stay.
    """

    lines: tuple[Line, ...]
    seconds: float
    graph_bytes: int | None
    batches: int
    available: int
    recalibration: float | None = None

    @property
    def typical_seconds(self) -> float:
        """What all measures are likely to take, nothing shared."""
        return self.seconds * sum(line.typical for line in self.lines)

    @property
    def most_seconds(self) -> float:
        """What all take if their budgets are used up."""
        return self.seconds * sum(line.most for line in self.lines)

    @property
    def seconds_by_name(self) -> dict[str, float]:
        """What each measure is likely to take."""
        return {line.name: line.typical * self.seconds for line in self.lines}


def takes_products(objective: Objective, specification: Specification) -> bool:
    """Whether a measure spends products, and so is worth one for a forecast."""
    return SPENDS[specification.name](objective, MEASURES.settings(specification)).products > 0


def forecast(objective: Objective, specifications: Sequence[Specification]) -> Forecast:
    """Measures one Hessian product on the first batch, after one that warms up; nothing else is computed."""
    fixed, recalibration = objective.at_fixed_statistics(), None
    if fixed is not objective:
        start = time.perf_counter()
        fixed = objective.at(objective.point).at_fixed_statistics()  # a point of its own: computed again
        recalibration = time.perf_counter() - start
    first = next(fixed.per_batch())
    vector = torch.ones_like(first.point)
    for _ in range(2):
        first = first.at(first.point)  # at a point of its own, so that the graph is built again
        start = time.perf_counter()
        first.hessian_product(vector)
        if first.point.device.type == "cuda":
            torch.cuda.synchronize(first.point.device)
        seconds = time.perf_counter() - start
    share = first.num_examples / objective.num_examples
    return Forecast(
        lines=tuple(_line(objective, specification) for specification in specifications),
        seconds=seconds / Cost(gradients=1, products=1).gradient_equivalents / share,
        graph_bytes=objective.engine.graphs.largest,
        batches=len(objective.batch_sizes),
        available=available_bytes(first.point.device),
        recalibration=recalibration,
    )


def _line(objective: Objective, specification: Specification) -> Line:
    spending = SPENDS[specification.name](objective, MEASURES.settings(specification))
    typical = spending.typical.gradient_equivalents
    most = typical if spending.most is None else spending.most.gradient_equivalents
    return Line(str(specification), min(typical, most), most)
