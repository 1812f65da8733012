"""The memory that measures take at most, from a short run of each on the first batch."""

import gc
from collections.abc import Sequence
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.isolation.live_bytes import LiveBytes
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

_BASES = "dominant-eigenvalue", "top-eigenvalues", "spectral-density"
"""Measures that keep a vector for every product."""


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
    with LiveBytes() as live:
        return [
            _expected(live, first, specification, batches, count)
            for specification, count in zip(specifications, products, strict=True)
        ]


def _expected(
    live: LiveBytes, first: Objective, specification: Specification, batches: int, products: float
) -> int | None:
    counts, vector, engine = first.ledger.counts, first.point.nbytes, first.engine
    before = counts["products"], counts["gradients"]
    short, rows = _short(specification, products)
    try:
        # The first product of all checks second derivatives, on the first batch and before any graph is kept.
        engine.twice = engine.confirmed = False
        peak = _peak_of(live, first, short) + rows * vector
        if batches == 1:
            return peak
        further = _peak_of(live, first, short) + rows * vector
    except (UsageError, InputError):
        return None
    if counts["products"] > before[0] or counts["gradients"] > before[1]:
        further += vector  # the sum over the batches before
    return max(peak, further + _kept(live, first, batches - 1))


def _short(specification: Specification, products: float) -> tuple[Specification, int]:
    """The same measure with a small budget, and the number of basis vectors that it has fewer."""
    settings: dict[str, Any] = MEASURES.settings(specification)
    name, options = specification.name, dict(specification.options)
    if name == "layer-eigenvalues":  # a search for every tensor, none larger than one for all
        name, options = "dominant-eigenvalue", {"method": "lanczos"}
        settings = MEASURES.settings(Specification(name, options))
    for option, most in _SHORT.items():
        setting: Any = settings.get(option)
        if isinstance(setting, int):
            options[option] = min(setting, most + (settings.get("k") or 0))
    rows = 0
    if name in _BASES and settings.get("method") != "power":
        spent = options.get("steps") or options.get("max_products") or options.get("max_iterations")
        full = settings["steps"] if name == "spectral-density" else products
        rows = max(0, round(full) - int(spent or 0))
    return Specification(name, options), rows


def _peak_of(live: LiveBytes, first: Objective, measure: Specification) -> int:
    """The most bytes beyond those before."""
    objective = first.at(first.point)
    # Graphs and cycles of before would be given back within, and their bytes hidden.
    first.engine.graphs.enter(-1, None)
    gc.collect()
    live.peak = before = live.now
    MEASURES.build(measure, objective)
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
