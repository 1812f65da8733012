"""Curves over training: any measure over epochs, steps, gradients or seconds, on train and on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from landscape.errors import UsageError
from landscape.plotting.page import legend_above, log_axis, page, settle, spread_widely
from landscape.plotting.series import Series, dashes, split_keys
from landscape.plotting.style import Width, paper
from landscape.tables.escaping import for_mathtext

# So many points of a curve are marked: enough to tell curves apart without colour.
_MARKS = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """One quantity of one run.

    Attributes:
        label: What the run is called; runs of one label are repetitions.
        split: ``train``, ``test``, or empty where the quantity belongs to neither.
        x: Where in training, ``(n,)``, increasing.
        y: The quantity there, ``(n,)``.
        error: Its standard error, ``(n,)``; NaN or ``None`` where it is exact.
    """

    label: str
    split: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64] | None = None


def history(
    curves: Sequence[Curve],
    *,
    ax: Axes | None = None,
    xlabel: str = "epoch",
    ylabel: str = "",
    series: Series | None = None,
) -> Axes:
    """Draws curves, solid on train and dashed on test, in one colour a label.

    Repetitions that were taken at the same places are drawn as their mean, in a band from the lowest to the
    highest; other ones one by one. A single curve with standard errors has a band of two of them.

    Args:
        curves: One or more.
        ax: Where; by default in a figure of its own, of one column, with a legend.
        xlabel: What is on the horizontal axis.
        ylabel: The quantity, with its unit.
        series: The colours; by default one a label.

    Raises:
        UsageError: There is no curve.
    """
    if not curves:
        raise UsageError("there is nothing to draw: no curve was given")
    looks = series or Series(curve.label for curve in curves)
    if ax is None:
        return history_panels({ylabel: curves}, xlabel=xlabel).axes[0]
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.label, curve.split), []).append(curve)
    for (label, split), found in groups.items():
        style: dict[str, Any] = {"color": looks.colour(label), "linestyle": dashes(split)}
        style |= {
            "marker": looks.marker(label),
            "markersize": 2.5,
            "markevery": 1 + len(found[0].x) // _MARKS,
        }
        same = all(np.array_equal(curve.x, found[0].x) for curve in found)
        if len(found) > 1 and same:
            stacked = np.stack([curve.y for curve in found])
            ax.plot(found[0].x, stacked.mean(axis=0), **style)
            _band(ax, found[0].x, stacked.min(axis=0), stacked.max(axis=0), looks.colour(label))
            continue
        for curve in found:
            ax.plot(curve.x, curve.y, **style)
            if curve.error is not None and len(found) == 1:
                width = 2 * np.nan_to_num(curve.error)
                _band(ax, curve.x, curve.y - width, curve.y + width, looks.colour(label))
    if spread_widely(np.concatenate([curve.y for curve in curves])):
        log_axis(ax.yaxis, np.concatenate([curve.y for curve in curves]))
    ax.margins(x=0.02)
    ax.set(xlabel=for_mathtext(xlabel), ylabel=for_mathtext(ylabel))
    return ax


def history_panels(
    quantities: Mapping[str, Sequence[Curve]],
    *,
    xlabel: str = "epoch",
    venue: str = "icml",
    width: Width = "column",
) -> Figure:
    """One panel for each quantity, the same colours in all, one legend above them.

    Args:
        quantities: Curves by what they show, with its unit.
        xlabel: What is on the horizontal axes.
        venue: Whose page the figure is for.
        width: ``column`` or ``text``.

    Raises:
        UsageError: There is no quantity; an unknown venue.
    """
    if not quantities:
        raise UsageError("there is nothing to draw: no quantity was given")
    every = [curve for curves in quantities.values() for curve in curves]
    looks = Series(curve.label for curve in every)
    with paper():
        figure, axes = page(len(quantities), venue=venue, width=width, shape=0.72)
        for (quantity, curves), ax in zip(quantities.items(), axes, strict=True):
            history(curves, ax=ax, xlabel=xlabel, ylabel=quantity, series=looks)
        several = looks.keys() if len({curve.label for curve in every}) > 1 else []
        legend_above(figure, [*several, *split_keys(curve.split for curve in every)])
        return settle(figure)


def _band(
    ax: Axes, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], colour: str
) -> None:
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
