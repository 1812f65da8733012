"""The plan of ``landscape measure --dry-run``: cost, time and memory before anything is measured."""

from landscape.measures.forecast import Forecast
from landscape.tables import Grid

from .progress import duration


def plan(forecast: Forecast) -> str:
    """The plan as a table with notes."""
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
    notes = [
        f"in total about {brief(forecast.typical_seconds)}, at most {brief(forecast.most_seconds)}, less what measures "
        "share; a trace that is proved to be exact takes only a few gradients",
        f"one gradient over all data: {seconds:.3g} s, from one product on the first batch",
    ]
    if forecast.recalibration is not None:
        notes.append(
            f"in addition, {brief(forecast.recalibration)} at every point but the checkpoint, where batch-norm "
            "statistics are recomputed: once a draw or step, and once a batch where a measure reads batches"
        )
    head = ("measure", "gradients", "at most", "time", "at most")
    return Grid(head, rows, [*notes, _memory(forecast)]).text()


def _memory(forecast: Forecast) -> str:
    free = f"{size(forecast.available)} free"
    if forecast.graph_bytes is None:
        return f"memory: {free}; what a batch takes cannot be counted here, so no graph is kept"
    everything = forecast.graph_bytes * forecast.batches
    return (
        f"memory: {size(forecast.graph_bytes)} for the graph of a batch, {size(everything)} to keep those of all "
        f"{forecast.batches}; {free}"
    )


def brief(seconds: float) -> str:
    """``"0.04 s"``, ``"2.3 s"``, ``"12 s"``, ``"3 min 20 s"``."""
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def size(count: float) -> str:
    """``"1.5 GiB"``, ``"12 MiB"``, ``"640 KiB"``."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 2**power:
            return f"{count / 2**power:.3g} {unit}"
    return f"{count / 2**10:.3g} KiB"
