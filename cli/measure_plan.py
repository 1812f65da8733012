"""The plan of ``landscape measure --dry-run``: cost, time and memory before anything is measured."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from landscape.tables import WIDTH, Grid

from .progress import brief

if TYPE_CHECKING:
    from landscape.measures.forecast import Forecast


def plan(forecast: "Forecast", world: int) -> str:
    """The table of a forecast, for measures in so many processes."""
    # The slowest process visits one batch more than others.
    forecast = replace(
        forecast, seconds=forecast.seconds * math.ceil(forecast.batches / world) / forecast.batches
    )
    seconds = forecast.seconds
    rows = [
        (
            line.name,
            f"{line.typical:.3g}",
            f"{line.most:.3g}",
            brief(line.typical * seconds),
            brief(line.most * seconds),
        )
        for line in forecast.lines
    ]
    typical, most = brief(forecast.typical_seconds), brief(forecast.most_seconds)
    notes = [
        f"in total about {typical}, at most {most}, less what measures share; a trace that is "
        "proved to be exact takes only a few gradients",
        f"one gradient over all data: {seconds:.3g} s, from one {'product' if forecast.by_product else 'gradient'} on "
        "the first batch",
    ]
    if world > 1:
        notes.append(f"in {world} processes at once, without the time of their exchanges")
    if forecast.recalibration is not None:
        notes.append(
            f"in addition, {brief(forecast.recalibration)} at every point but the checkpoint, where batch-norm "
            "statistics are recomputed: once a draw or step, and once a batch where a measure reads batches"
        )
    head = ("measure", "gradients", "at most", "time", "at most")
    return Grid(head, rows, [*notes, *_memory(forecast, world)]).text(width=WIDTH)


def _memory(forecast: "Forecast", world: int) -> list[str]:
    free = f"{_size(forecast.available)} free"
    each = " of each process" if world > 1 else ""
    sizes = ", ".join(f"{line.name} {_size(line.peak)}" for line in forecast.lines if line.peak is not None)
    peak = "not known" if forecast.peak is None else f"{_size(forecast.peak)} in all"
    lines = [f"memory{each}, at its peak and besides network and data: {peak} ({sizes}); {free}"]
    if not forecast.by_product:
        pass  # no graph is kept
    elif forecast.graph_bytes is None:
        lines.append("what the graph of a batch takes cannot be counted here, so that none is kept")
    else:
        lines.append(
            f"the graph of a batch takes {_size(forecast.graph_bytes)}; graphs are kept while memory lasts"
        )
    if forecast.peak is not None and forecast.peak * world > forecast.available > 0:
        lines.append(
            "that does not fit: take a smaller -b, --recompute, fewer --parameters, or --shard-weights over several "
            "processes"
        )
    return lines


def _size(count: float) -> str:
    """``"1.5 GiB"``, ``"12 MiB"``, ``"640 KiB"``."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 2**power:
            return f"{count / 2**power:.3g} {unit}"
    return f"{count / 2**10:.3g} KiB"
