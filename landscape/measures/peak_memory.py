"""The memory that measures take at most, from a short run of each on the first batch."""

import gc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from landscape.draws import Draws
from landscape.errors import InputError, UsageError
from landscape.isolation.live_bytes import LiveBytes
from landscape.measures.expected import SHORT, Short
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
    first: Objective,
    specifications: Sequence[Specification],
    *,
    batches: int,
    products: Sequence[tuple[float, float]],
) -> list[tuple[int, int] | None]:
    """The bytes that each measure by itself takes at its peak, besides network, data and objective.

    Args:
        first: The first batch, at the point.
        specifications: The measures.
        batches: The number of batches that one process visits.
        products: The numbers of products of each measure where it takes few and where it takes many.

    Returns:
        The bytes for each of the two; ``None`` for a measure that cannot be taken of the first batch.
    """
    for draw in (Draws(0).signs, Draws(0).normals):
        draw(1, 1, like=first.point)  # the first makes a table, which stays
    with LiveBytes() as live:
        return [
            _expected(live, first, specification, batches, counts)
            for specification, counts in zip(specifications, products, strict=True)
        ]


def _expected(
    live: LiveBytes,
    first: Objective,
    specification: Specification,
    batches: int,
    products: tuple[float, float],
) -> tuple[int, int] | None:
    counts, vector, engine = first.ledger.counts, first.point.nbytes, first.engine
    before = counts["products"], counts["gradients"]
    try:
        run, short = _shortened(first, specification)
        # The first product of all checks second derivatives, on the first batch, before any graph is kept and before a
        # basis has grown.
        engine.twice = engine.confirmed = False
        checked = _peak_of(live, first, run) + short.growth(1)
        peak = _peak_of(live, first, run)
    except (UsageError, InputError):
        return None
    if batches > 1:
        if counts["products"] > before[0] or counts["gradients"] > before[1]:
            peak += vector  # the sum over the batches before
        peak += _kept(live, first, batches - 1)
    few, many = (max(checked, peak + short.growth(count)) for count in products)
    return few, many


def _shortened(first: Objective, specification: Specification) -> tuple[Callable[[Objective], object], Short]:
    """A run with a small budget, and what it does not show."""
    settings: dict[str, Any] = MEASURES.settings(specification)
    options = dict(specification.options)
    for option, most in _SHORT.items():
        setting = settings.get(option)
        if isinstance(setting, int):
            options[option] = min(setting, most + (settings.get("k") or 0))
    name = specification.name
    short = SHORT[name](first, {**settings, **options}, settings) if name in SHORT else Short()
    return short.run or partial(MEASURES.build, Specification(name, options)), short


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
