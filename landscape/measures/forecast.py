"""The expected cost of measures, from their options and one measured Hessian product."""

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from landscape.curvature.parts import parts_by
from landscape.measures.peak_memory import peaks
from landscape.measures.table import MEASURES
from landscape.objective import Objective
from landscape.objective.memory import available_bytes
from landscape.records.estimate import Cost
from landscape.registry.names import Specification


def expected_cost(objective: Objective, specification: Specification) -> tuple[Cost, Cost]:
    """The likely cost of a measure by itself, and its cost if its budget is used up; computes nothing.

    The numbers of products and draws are typical of trained networks at the default tolerances.
    """
    options: dict[str, Any] = MEASURES.settings(specification)
    layers, most = len(parts_by(objective, options["by"])) if "by" in options else 0, {}
    match specification.name:
        case "loss" | "accuracy":
            cost = Cost(evaluations=1)
        case "subset-accuracy":
            cost = Cost(evaluations=2)
        case "gradient-norm" | "gradient-noise":
            cost = Cost(gradients=1)
        case "surrogate-gap":
            cost = Cost(gradients=1, evaluations=1)
        case "dominant-eigenvalue":
            cost = Cost(gradients=2, products=15 if options["method"] == "power" else 7)
            most = {"products": options["max_iterations"]}
        case "top-eigenvalues":
            cost = Cost(gradients=2, products=5 + 3 * options["k"])
            most = {"products": options["max_products"]}
        case "layer-eigenvalues":
            cost = Cost(gradients=2, products=6 * layers)
            most = {"products": layers * options["max_products"]}
        case "critical-sharpness":
            cost, most = Cost(gradients=1, evaluations=6), {"evaluations": options["max_evaluations"]}
        case "directional-sharpness":
            cost = Cost(gradients=1, products=1 + (layers if options["between"] else 0))
        case "preconditioned-sharpness":
            cost, most = Cost(gradients=2, products=10), {"products": options["max_products"]}
        case "noise-scale":
            cost = Cost(gradients=2)
        case "spectral-density":
            products = options["probes"] * min(options["steps"], objective.dimension)
            cost = Cost(gradients=1, products=products)
        case "block-spectra":
            cost = Cost(gradients=1, products=layers * options["probes"] * options["steps"])
        case "hessian-trace" | "layer-traces" | "normalized-trace":
            # An exact trace costs a gradient a class, of which 10 are usual; two pairs of probes cost 4 products.
            is_auto = options.get("method", "auto") == "auto"
            cost = Cost(gradients=12, products=4) if is_auto else Cost(gradients=1, products=64)
            most = {"products": options["max_probes"]}
        case "fisher-rao-norm":
            cost = Cost(gradients=1, products=1)
        case "relative-flatness":
            cost, most = Cost(gradients=1, products=48), {"products": options["max_probes"]}
        case "path-norm":  # one example, whatever the data
            cost = Cost(evaluations=4 / objective.num_examples)
        case "pacbayes-sigma":
            cost = Cost(evaluations=1 + 13 * options["draws"])
        case "basin-width" if options["case"] == "worst":
            cost = Cost(gradients=13 * options["steps"], evaluations=26)
        case "basin-width":
            # About 7 distances a direction, of which 8 are typical: they are nearly equally wide in large networks.
            cost, most = Cost(evaluations=57), {"evaluations": 1 + 7 * options["max_directions"]}
        case "approximation-ratio":
            share = min(1.0, options["examples"] / objective.num_examples)
            cost = Cost(gradients=share * options["steps"], evaluations=2 * share)
        case "adaptive-sharpness" | "geodesic-sharpness":
            cost = Cost(gradients=options["steps"], evaluations=2)
        case "average-sharpness":
            # Typically 16 pairs of evaluations, and the loss at the point itself.
            cost, most = Cost(evaluations=33), {"evaluations": 1 + 2 * options["max_pairs"]}
        case _:
            cost = Cost()
    return cost, dataclasses.replace(cost, **most)


@dataclass(frozen=True)
class Line:
    """The likely cost of one measure by itself, and that of its whole budget, in gradient-equivalents.

    ``peak`` is the memory that it takes at most besides network, data and objective, in bytes; ``None`` if unknown.
    """

    name: str
    typical: float
    most: float
    peak: int | None = None


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
    def peak(self) -> int | None:
        """The memory of all measures in bytes, which share the gradient; ``None`` if that of one is unknown."""
        sizes = [line.peak for line in self.lines]
        known = [size for size in sizes if size is not None]
        if not known or len(known) < len(sizes):
            return None
        return max(known) + (self.vector if len(known) > 1 else 0)

    @property
    def typical_seconds(self) -> float:
        """The likely time of all measures, nothing shared."""
        return self.seconds * sum(line.typical for line in self.lines)

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
        products=[min(typical.products, most.products) for typical, most in costs],
    )
    # Where no measure takes products, one would need more memory than all of them.
    by_product = any(typical.products for typical, _ in costs)
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


def _line(specification: Specification, costs: tuple[Cost, Cost], peak: int | None) -> Line:
    typical, most = (cost.gradient_equivalents for cost in costs)
    return Line(str(specification), min(typical, most), most, peak)
