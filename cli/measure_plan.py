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
            between(f"{line.few:.3g}", f"{line.many:.3g}"),
            f"{line.most:.3g}",
            between(brief(line.few * seconds), brief(line.many * seconds)),
            brief(line.most * seconds),
        )
        for line in forecast.lines
    ]
    likely, most = between(*map(brief, forecast.likely_seconds)), brief(forecast.most_seconds)
    notes = [
        f"in total about {likely}, at most {most}, less what measures share; a trace that is "
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
    sizes = ", ".join(
        f"{line.name} {between(*map(_size, line.peaks))}" for line in forecast.lines if line.peaks is not None
    )
    peak = "not known" if forecast.peaks is None else f"{between(*map(_size, forecast.peaks))} in all"
    lines = [f"memory{each}, at its peak and besides network and data: {peak} ({sizes}); {free}"]
    if not forecast.by_product:
        pass  # no graph is kept
    elif forecast.graph_bytes is None:
        lines.append("what the graph of a batch takes cannot be counted here, so that none is kept")
    else:
        lines.append(
            f"the graph of a batch takes {_size(forecast.graph_bytes)}; graphs are kept while memory lasts"
        )
    least, most = forecast.peaks or (0, 0)
    if most * world > forecast.available > 0:
        verdict = "does" if least * world > forecast.available else "may"
        lines.append(
            f"that {verdict} not fit: take a smaller -b, --recompute, fewer --parameters, or --shard-weights over "
            "several processes"
        )
    return lines


def between(low: str, high: str) -> str:
    """``"2 s"``, or ``"2–12 s"`` where they differ, or ``"2 s–1 min 5 s"`` where their units do too."""
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number if unit == high.partition(' ')[2] else low}–{high}"


def _size(count: float) -> str:
    """``"1.5 GiB"``, ``"12 MiB"``, ``"640 KiB"``."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 2**power:
            return f"{count / 2**power:.3g} {unit}"
    return f"{count / 2**10:.3g} KiB"
