"""Runs to curves: which quantities they have, and each over epochs, steps, gradients or seconds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from landscape.comparison import setting_labels
from landscape.errors import InputError, UsageError
from landscape.plotting.history import Curve
from landscape.plotting.sources import Run
from landscape.registry.nearest import did_you_mean

Over = Literal["epoch", "step", "gradients", "seconds"]
OVER: Mapping[str, str] = {
    "epoch": "epoch",
    "step": "step",
    "gradients": "gradients of a batch",
    "seconds": "time (s)",
}
"""What may be on the horizontal axis, and how it is named there."""

_SPLITS = ("train", "test")
_PERCENT = ("accuracy",)


def quantities(runs: Iterable[Run]) -> list[str]:
    """What runs can be drawn over training: first what the history has, then the measures."""
    found: dict[str, None] = {}
    for run in runs:
        for entry in run.epochs:
            for key in entry:
                split, _, name = key.partition("_")
                found.setdefault(name if split in _SPLITS else key)
        found.update(dict.fromkeys(_labels(run)))
    return [name for name in found if name not in OVER]


def curves(runs: Sequence[Run], quantity: str, *, over: Over = "epoch") -> tuple[str, list[Curve]]:
    """The name of a quantity with its unit, and its curves in all runs that have it.

    Args:
        runs: Of any optimizers and seeds.
        quantity: One of :func:`quantities`.
        over: What is on the horizontal axis.

    Raises:
        UsageError: No run has the quantity.
        InputError: The history lacks what is asked for on the horizontal axis.
    """
    if over not in OVER:
        raise UsageError(f"'{over}' is not one of {', '.join(OVER)}")
    known = quantities(runs)
    if quantity not in known:
        guess = did_you_mean(quantity, known)
        raise UsageError(f"no run has '{quantity}'{guess}; there are: {', '.join(known) or 'none'}")
    found = [curve for run in runs for curve in _of_epochs(run, quantity, over)]
    unit = ""
    if not found:
        found = [curve for run in runs for curve in _of_measures(run, quantity, over)]
        unit = next(
            (
                estimate.unit
                for run in runs
                for (_, estimate), label in zip(run.measured, _labels(run), strict=True)
                if label == quantity
            ),
            "",
        )
    if quantity in _PERCENT:
        found = [Curve(label=c.label, split=c.split, x=c.x, y=100 * c.y) for c in found]
        unit = "%"
    named = quantity.replace("_", " ")
    return (f"{named} ({unit})" if unit not in ("", "1") else named), found


def _labels(run: Run) -> list[str]:
    """Which quantity each of the measures on the way is."""
    return setting_labels([estimate for _, estimate in run.measured])


def _of_epochs(run: Run, quantity: str, over: Over) -> list[Curve]:
    found = []
    for split, key in (*((split, f"{split}_{quantity}") for split in _SPLITS), ("", quantity)):
        points = [(_place(run, entry, over), entry[key]) for entry in run.epochs if key in entry]
        if points:
            x, y = np.array(points, dtype=np.float64).T
            found.append(Curve(label=run.label, split=split, x=x, y=y))
    return found


def _of_measures(run: Run, quantity: str, over: Over) -> list[Curve]:
    entries = {entry["epoch"]: entry for entry in run.epochs}
    taken: dict[str, list[tuple[float, float, float]]] = {}
    for (epoch, estimate), label in zip(run.measured, _labels(run), strict=True):
        if label == quantity:
            place = _place(run, entries.get(epoch, {"epoch": epoch}), over)
            error = math.nan if estimate.standard_error is None else estimate.standard_error
            taken.setdefault(estimate.provenance.split or "", []).append((place, estimate.value, error))
    found = []
    for split, points in taken.items():
        x, y, error = np.array(sorted(points), dtype=np.float64).T
        found.append(
            Curve(label=run.label, split=split, x=x, y=y, error=None if np.isnan(error).all() else error)
        )
    return found


def _place(run: Run, entry: Mapping[str, float], over: Over) -> float:
    if over not in entry:
        raise InputError(
            f"{run.path} does not say '{over}' of epoch {entry.get('epoch', 0):g}; draw it over epochs (--over epoch)"
        )
    return entry[over]
