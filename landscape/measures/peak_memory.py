"""The memory that measures take at most, from a short run of each on the first batch."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from landscape.curvature.eigenpairs import longest_basis
from landscape.curvature.parts import block_of_hessian, parts_by
from landscape.draws import Draws
from landscape.errors import InputError, UsageError
from landscape.isolation.live_bytes import LiveBytes
from landscape.linalg.basis import reserved_rows
from landscape.linalg.lanczos import lanczos, longest
from landscape.measures.table import MEASURES
from landscape.objective import Objective
from landscape.objective.memory import available_bytes
from landscape.registry.names import Specification

_SHORT = {
    "max_iterations": 2,
    "max_products": 4,
    "max_probes": 8,  # one block of them
    "max_pairs": 2,
    "probes": 1,
    "steps": 2,
}
"""Options that only make a measure longer, and what they are at most in a short run."""


def peaks(
    first: Objective, specifications: Sequence[Specification], *, batches: int, products: Sequence[float]
) -> list[int | None]:
    """The bytes that each measure by itself takes at most, besides network, data and objective.

    Args:
        first: The first batch, at the point.
        specifications: The measures.
        batches: The number of batches that one process visits.
        products: The likely number of products of each measure.

    Returns:
        ``None`` for a measure that cannot be taken of the first batch.
    """
    for draw in (Draws(0).signs, Draws(0).normals):
        draw(1, 1, like=first.point)  # the first makes a table, which stays
    with LiveBytes() as live:
        return [
            _expected(live, first, specification, batches, count)
            for specification, count in zip(specifications, products, strict=True)
        ]


@dataclass(frozen=True)
class _Short:
    """A measure with a small budget, and the bytes that its basis of vectors is larger with the usual one."""

    run: Callable[[Objective], object]
    further: int = 0


def _expected(
    live: LiveBytes, first: Objective, specification: Specification, batches: int, products: float
) -> int | None:
    counts, vector, engine = first.ledger.counts, first.point.nbytes, first.engine
    before = counts["products"], counts["gradients"]
    try:
        short = _short(first, specification, products)
        # The first product of all checks second derivatives, on the first batch and before any graph is kept.
        engine.twice = engine.confirmed = False
        peak = _peak_of(live, first, short.run) + short.further
        if batches == 1:
            return peak
        further = _peak_of(live, first, short.run) + short.further
    except (UsageError, InputError):
        return None
    if counts["products"] > before[0] or counts["gradients"] > before[1]:
        further += vector  # the sum over the batches before
    return max(peak, further + _kept(live, first, batches - 1))


def _short(first: Objective, specification: Specification, products: float) -> _Short:
    settings: dict[str, Any] = MEASURES.settings(specification)
    name, options = specification.name, dict[str, Any](specification.options)
    if name == "layer-eigenvalues":
        return _largest_layer(first, settings, products)
    for option, most in _SHORT.items():
        setting: Any = settings.get(option)
        if isinstance(setting, int):
            options[option] = min(setting, most + (settings.get("k") or 0))
    run = partial(MEASURES.build, Specification(name, options))
    budgets = [each.get("max_products") or each.get("max_iterations") for each in (options, settings)]
    if (
        name in ("dominant-eigenvalue", "top-eigenvalues", "preconditioned-sharpness")
        and settings.get("method") != "power"
    ):
        growth = _growth(first, len(first.point), settings.get("k", 1), budgets, products)
        return _Short(run, growth)
    if name == "spectral-density":
        rows = [min(steps, first.dimension) for steps in (options["steps"], settings["steps"])]
        return _Short(run, (rows[1] - rows[0]) * first.point.nbytes)
    return _Short(run)


def _largest_layer(first: Objective, settings: dict[str, Any], products: float) -> _Short:
    """A short search for the eigenvalue of the largest layer."""
    parts = parts_by(first, settings["by"])
    part, spent = max(parts, key=lambda part: part.size(first)), min(2, settings["max_products"])
    size = part.size(first)

    def run(objective: Objective) -> object:
        return lanczos(
            block_of_hessian(objective, part),
            max_products=spent,
            generator=torch.Generator().manual_seed(0),
            start=part.of(objective, objective.gradient),
        )

    return _Short(run, _growth(first, size, 1, (spent, settings["max_products"]), products / len(parts)))


def _growth(first: Objective, length: int, count: int, budgets: Sequence[Any], products: float) -> int:
    """The bytes that a basis of rows of some length is larger after so many products than after a small budget."""
    row, room = length * first.point.element_size(), longest_basis(first, length, count)
    small, usual = (longest(length, count, budget, room) for budget in budgets)
    filled = reserved_rows(row, usual, min(usual, round(products) + 1))
    return row * (filled - reserved_rows(row, small, min(small, budgets[0] + 1)))


def _peak_of(live: LiveBytes, first: Objective, run: Callable[[Objective], object]) -> int:
    """The most bytes beyond those before."""
    objective = first.at(first.point)
    # Graphs and cycles of before would be given back within, and their bytes hidden.
    first.engine.graphs.enter(-1, None)
    gc.collect()
    live.peak = before = live.now
    run(objective)
    return live.peak - before


def _kept(live: LiveBytes, first: Objective, others: int) -> int:
    """The bytes of the graphs of other batches that would be kept, of the size of the one that is kept now."""
    graphs, before = first.engine.graphs, live.now
    if not len(graphs):
        return 0
    graphs.enter(-1, None)
    size, free = before - live.now, available_bytes(first.point.device)
    count = 0
    while count < others and size <= graphs.share * (free - count * size):
        count += 1
    return count * size
