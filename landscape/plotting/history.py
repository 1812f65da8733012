"""Curves over training: any quantity over epochs, steps, gradients or seconds, on train and on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from landscape.errors import UsageError
from landscape.plotting.page import is_log, legend_above, log_axis, page, settle
from landscape.plotting.series import Series, dashes, split_keys
from landscape.plotting.style import Width, paper
from landscape.tables.escaping import for_mathtext

_THRESHOLD: Mapping[str, Any] = {"linestyle": (0, (1, 1)), "linewidth": 0.9}
_MARKS = 12  # markers per curve, enough to tell curves apart without colour


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """One quantity of one run.

    Attributes:
        label: Name of the run; runs with one label are repetitions.
        split: ``train``, ``test``, or empty if the quantity belongs to neither.
        x: Place in training, ``(n,)``, increasing.
        y: The quantity there, ``(n,)``.
        error: Its standard error, ``(n,)``; NaN or ``None`` if it is exact.
        is_threshold: Whether it is what the quantity of this run is held against, which is dotted.
    """

    label: str
    split: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64] | None = None
    is_threshold: bool = False


def history(
    curves: Sequence[Curve],
    *,
    ax: Axes | None = None,
    xlabel: str = "epoch",
    ylabel: str = "",
    series: Series | None = None,
) -> Axes:
    """Draws curves, solid on train and dashed on test, in one colour per label.

    Repetitions at the same places are drawn as their mean in a band from the lowest to the highest, other ones one by
    one. A single curve with standard errors has a band of two of them.

    Args:
        curves: The curves, at least one.
        ax: The axes to draw on; by default those of a new figure of one column with a legend.
        xlabel: Label of the horizontal axis.
        ylabel: The quantity with its unit.
        series: Colours and markers; by default those of the labels.

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
        if curve.is_threshold:
            ax.plot(curve.x, curve.y, color=looks[curve.label].colour, **_THRESHOLD)
            continue
        groups.setdefault((curve.label, curve.split), []).append(curve)
    for (label, split), runs in groups.items():
        colour, x = looks[label].colour, runs[0].x
        style: dict[str, Any] = {"color": colour, "linestyle": dashes(split), "marker": looks[label].marker}
        style |= {"markersize": 2.5, "markevery": 1 + len(x) // _MARKS}
        if len(runs) > 1 and all(np.array_equal(curve.x, x) for curve in runs):
            values = np.stack([curve.y for curve in runs])
            ax.plot(x, values.mean(axis=0), **style)
            ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
            continue
        for curve in runs:
            ax.plot(curve.x, curve.y, **style)
            if curve.error is not None and len(runs) == 1:
                width = 2 * np.nan_to_num(curve.error)  # NaN where a value is exact
                ax.fill_between(x, curve.y - width, curve.y + width, color=colour, alpha=0.2, linewidth=0)
    everything = np.concatenate([curve.y for curve in curves])
    if is_log(everything):
        log_axis(ax.yaxis, everything)
    ax.margins(x=0.02)
    ax.set(xlabel=for_mathtext(xlabel), ylabel=for_mathtext(ylabel))
    return ax


def history_panels(
    quantities: Mapping[str, Sequence[Curve]],
    *,
    xlabel: str = "epoch",
    venue: str = "icml",
    width: Width = "column",
    stacked: bool = False,
) -> Figure:
    """One panel for each quantity, with the same colours in all and one legend above them.

    Args:
        quantities: Curves by quantity with its unit.
        xlabel: Label of the horizontal axes.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``.
        stacked: One panel below the other, over one horizontal axis.

    Raises:
        UsageError: There is no quantity, or the venue is unknown.
    """
    if not quantities:
        raise UsageError("there is nothing to draw: no quantity was given")
    every = [curve for curves in quantities.values() for curve in curves]
    looks = Series(curve.label for curve in every)
    with paper():
        shape = 0.3 if stacked else 0.72
        figure, axes = page(len(quantities), venue=venue, width=width, shape=shape, stacked=stacked)
        for (quantity, curves), ax in zip(quantities.items(), axes, strict=True):
            last = not stacked or ax is axes[-1]
            history(curves, ax=ax, xlabel=xlabel if last else "", ylabel=quantity, series=looks)
        figure.align_ylabels(axes)
        several = looks.keys() if len({curve.label for curve in every}) > 1 else []
        dotted = [Line2D([], [], color="0.35", label="threshold", **_THRESHOLD)]
        dotted = dotted if any(curve.is_threshold for curve in every) else []
        legend_above(figure, [*several, *split_keys(curve.split for curve in every), *dotted])
        return settle(figure)
