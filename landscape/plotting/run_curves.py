"""Curves of runs: which quantities they have, each over epochs, steps, gradients or seconds."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from landscape.comparison import setting_labels
from landscape.errors import InputError, UsageError
from landscape.plotting.caption import headed
from landscape.plotting.history import Curve
from landscape.plotting.sources import Run
from landscape.records.run_folder import During
from landscape.registry.nearest import did_you_mean

Over = Literal["epoch", "step", "gradients", "seconds"]
OVER: Mapping[str, str] = {
    "epoch": "epoch",
    "step": "step",
    "gradients": "gradients of a batch",
    "seconds": "time (s)",
}
"""Horizontal axes and their labels."""

_SPLITS = ("train", "test")


def axis_label(runs: Sequence[Run], over: Over = "epoch") -> str:
    """The label of the horizontal axis: of runs that count no epochs, these are steps."""
    counted = "step" if over == "epoch" and all(run.by_step and not run.epochs for run in runs) else over
    return OVER[counted]


def quantities(runs: Iterable[Run]) -> list[str]:
    """What runs have over training: first the quantities of the history, then the measures."""
    names: dict[str, None] = {}
    for run in runs:
        for entry in run.epochs:
            for key in entry:
                split, _, name = key.partition("_")
                names[name if split in _SPLITS else key] = None
        names.update(dict.fromkeys(label for label, _ in _measured(run)))
    return [name for name in names if name not in OVER]


def curves(runs: Sequence[Run], quantity: str, *, over: Over = "epoch") -> tuple[str, list[Curve]]:
    """The name of one of the :func:`quantities` with its unit, and its curves in all runs that have it.

    Raises:
        UsageError: No run has the quantity.
        InputError: The history does not hold the horizontal axis.
    """
    if over not in OVER:
        raise UsageError(f"'{over}' is not one of {', '.join(OVER)}")
    known = quantities(runs)
    if quantity not in known:
        raise UsageError(
            f"no run has '{quantity}'{did_you_mean(quantity, known)}; there are: {', '.join(known) or 'none'}"
        )
    drawn = [curve for run in runs for curve in _of_epochs(run, quantity, over)]
    unit = ""
    if not drawn:
        drawn = [curve for run in runs for curve in _of_measures(run, quantity, over)]
        if len(runs) == 1:  # those of several runs would hide each other
            drawn[1:1] = _further_eigenvalues(runs[0], quantity, over)
        units = (each.estimate.unit for run in runs for label, each in _measured(run) if label == quantity)
        unit = next(units, "")
    # "L" is enough in a table beside its other symbols, but not on an axis of its own.
    heading, factor = ("loss", 1.0) if quantity == "loss" else headed(quantity, unit)
    if factor != 1:
        drawn = [dataclasses.replace(c, y=factor * c.y, error=None) for c in drawn]
    return heading.replace("_", " "), drawn


def _measured(run: Run) -> list[tuple[str, During]]:
    """Each measure during training with its label."""
    labels = setting_labels([each.estimate for each in run.measured])
    return list(zip(labels, run.measured, strict=True))


def _epochs(run: Run) -> list[Mapping[str, float]]:
    """The lines of a history with the seconds since its beginning: a line has those of its epoch alone."""
    entries: list[Mapping[str, float]] = []
    total = 0.0
    for entry in run.epochs:
        total += entry.get(
            "seconds", math.nan
        )  # of a line that was restored they are unknown, and so from there on
        rest = {name: value for name, value in entry.items() if name != "seconds"}
        entries.append({**rest, "seconds": total} if math.isfinite(total) else rest)
    return entries


def _of_epochs(run: Run, quantity: str, over: Over) -> list[Curve]:
    drawn = []
    for split, key in (*((split, f"{split}_{quantity}") for split in _SPLITS), ("", quantity)):
        points = [(_place(run, entry, over), entry[key]) for entry in _epochs(run) if key in entry]
        if points:
            x, y = np.array(points, dtype=np.float64).T
            drawn.append(Curve(label=run.label, split=split, x=x, y=y))
    return drawn


def _of_measures(run: Run, quantity: str, over: Over) -> list[Curve]:
    by_split: dict[str, list[tuple[float, float, float]]] = {}
    place_of = _places(run, over)
    for label, each in _measured(run):
        if label == quantity:
            place, estimate = place_of(each), each.estimate
            error = math.nan if estimate.standard_error is None else estimate.standard_error
            by_split.setdefault(estimate.provenance.split or "", []).append((place, estimate.value, error))
    drawn = []
    for split, points in by_split.items():
        # Sorted, because the lines of a file need not be in the order of training.
        x, y, errors = np.array(sorted(points), dtype=np.float64).T
        known = None if np.isnan(errors).all() else errors
        drawn.append(Curve(label=run.label, split=split, x=x, y=y, error=known))
    return drawn + _thresholds(run, quantity, over)


def _further_eigenvalues(run: Run, quantity: str, over: Over) -> list[Curve]:
    """The second eigenvalue and those after it, of a measure that has them in its details."""
    points: dict[tuple[int, str], list[tuple[float, float]]] = {}
    place_of = _places(run, over)
    for label, each in _measured(run):
        values = each.estimate.details.get("eigenvalues")
        if label == quantity and isinstance(values, list):
            place, split = place_of(each), each.estimate.provenance.split or ""
            for number, value in enumerate(values[1:], 2):
                points.setdefault((number, split), []).append((place, float(value)))
    drawn = []
    for (number, split), pairs in sorted(points.items()):
        x, y = np.array(sorted(pairs), dtype=np.float64).T
        drawn.append(Curve(label=f"eigenvalue {number}", split=split, x=x, y=y))
    return drawn


def _thresholds(run: Run, quantity: str, over: Over) -> list[Curve]:
    """The threshold of stability beside a measure that has one in its details."""
    place_of = _places(run, over)
    points = [
        (place_of(each), float(limit))
        for label, each in _measured(run)
        if label == quantity and isinstance(limit := each.estimate.details.get("threshold"), (int, float))
    ]
    if not points:
        return []
    x, y = np.array(sorted(points), dtype=np.float64).T
    return [Curve(label=run.label, split="", x=x, y=y, is_threshold=True)]


def _places(run: Run, over: Over) -> Callable[[During], float]:
    """Where an estimate lies: what it says itself, or else between the ends of its epoch."""
    ends = [(0, 0), *((entry["epoch"], entry[over]) for entry in _epochs(run) if over in entry)]
    x, y = zip(*ends, strict=True)

    def place(measured: During) -> float:
        known = {"epoch": measured.epoch, "step": measured.step}.get(over)
        if known is not None:
            return known
        if measured.epoch > x[-1]:
            return _place(run, {"epoch": measured.epoch}, over)  # which says that it is unknown
        return float(np.interp(measured.epoch, x, y))

    return place


def _place(run: Run, entry: Mapping[str, float], over: Over) -> float:
    if over not in entry:
        raise InputError(
            f"{run.path} does not say '{over}' of epoch {entry.get('epoch', 0):g}; draw it over epochs (--over epoch)"
        )
    return entry[over]
