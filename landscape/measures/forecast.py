"""The expected cost of measures, from one measured Hessian product."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from landscape.measures.reading import SPENDS, Spending
from landscape.measures.table import MEASURES
from landscape.objective import Objective
from landscape.objective.memory import available_bytes
from landscape.records.estimate import Cost
from landscape.registry.names import Specification


@dataclass(frozen=True)
class Line:
    """The forecast of one measure by itself, in gradient-equivalents.

    Attributes:
        name: The measure as the user typed it.
        typical: The likely cost.
        most: The cost if its budget is used up.
    """

    name: str
    typical: float
    most: float


@dataclass(frozen=True)
class Forecast:
    """The expected cost of measures of one objective.

    Attributes:
        lines: One for each measure.
        seconds: The time of one gradient over all the data.
        graph_bytes: The size of the graph of one batch's gradient; ``None`` if it cannot be measured.
        batches: The number of batches.
        available: Bytes of free memory.
        recalibration: Seconds of the pass that recomputes batch-norm statistics at every point, which the lines do
            not include; ``None`` if the statistics are stored.
    """

    lines: tuple[Line, ...]
    seconds: float
    graph_bytes: int | None
    batches: int
    available: int
    recalibration: float | None = None

    @property
    def typical_seconds(self) -> float:
        """The likely time of all measures, nothing shared."""
        return self.seconds * sum(line.typical for line in self.lines)

    @property
    def most_seconds(self) -> float:
        """The time of all measures if their budgets are used up."""
        return self.seconds * sum(line.most for line in self.lines)

    @property
    def seconds_by_name(self) -> dict[str, float]:
        """The likely time of each measure."""
        return {line.name: line.typical * self.seconds for line in self.lines}


def takes_products(objective: Objective, specification: Specification) -> bool:
    """Whether a measure spends products, so that measuring one for a forecast is worth it."""
    return _spending(objective, specification).products > 0


def forecast(objective: Objective, specifications: Sequence[Specification]) -> Forecast:
    """Measures one Hessian product on the first batch, after one that warms up; computes nothing else."""
    fixed, recalibration = objective.at_fixed_statistics(), None
    if fixed is not objective:
        start = time.perf_counter()
        # At a copy of the point, where nothing is cached, so that the pass is timed.
        fixed = objective.at(objective.point).at_fixed_statistics()
        recalibration = time.perf_counter() - start
    first = next(fixed.per_batch())
    vector = torch.ones_like(first.point)
    for _ in range(2):
        first = first.at(first.point)  # at another copy, so that the graph is built again
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


def _spending(objective: Objective, specification: Specification) -> Spending:
    return SPENDS[specification.name](objective, **MEASURES.settings(specification))


def _line(objective: Objective, specification: Specification) -> Line:
    spending = _spending(objective, specification)
    typical = spending.typical.gradient_equivalents
    most = typical if spending.most is None else spending.most.gradient_equivalents
    return Line(str(specification), min(typical, most), most)
