"""Lines from files, beside each other: one panel for each, on one scale of losses."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from landscape.plotting.bands import axis_labels, quantity
from landscape.plotting.line import line
from landscape.plotting.page import legend_above, log_axis, page, settle, with_one_title_each
from landscape.plotting.series import split_keys
from landscape.plotting.style import Width, paper
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext


def line_panels(
    surfaces: Sequence[Surface], titles: Sequence[str] = (), *, venue: str = "icml", width: Width = "column"
) -> Figure:
    """One panel for each line, on one scale of losses.

    Args:
        surfaces: Lines.
        titles: One for each, or none.
        venue: Whose page the figure is for.
        width: ``column`` or ``text``.

    Raises:
        UsageError: No line, or another number of titles; an unknown venue.
    """
    with_one_title_each("lines", len(surfaces), titles)
    with paper():
        figure, axes = page(len(surfaces), venue=venue, width=width)
        every: list[str] = []
        for surface, ax in zip(surfaces, axes, strict=True):
            losses, accuracies = _by_split(surface, "loss"), _by_split(surface, "accuracy")
            every += losses
            label, name = axis_labels(surface)[0], quantity([surface])
            line(surface.x, losses, accuracies=accuracies, ax=ax, label=label, quantity=name)
            _name_checkpoints(surface, ax)
        _share_heights(axes)
        for title, ax in zip(titles, axes, strict=False):
            ax.set_title(for_mathtext(title))
        legend_above(figure, split_keys(every))
        return settle(figure)


def _by_split(surface: Surface, name: str) -> dict[str, NDArray[np.float64]]:
    origin = surface.meta.get("provenance")
    first = str(origin.get("split") or "train") if isinstance(origin, Mapping) else "train"
    found = {"test": getattr(surface, f"test_{name}")}
    found[first] = getattr(surface, name)
    return {split: found[split][0] for split in (first, "test") if found.get(split) is not None}


def _name_checkpoints(surface: Surface, ax: Axes) -> None:
    """An upright line at each checkpoint on the line, with its name above the axes."""
    if surface.markers is None:
        return
    for (place,), text in zip(surface.markers.coordinates, surface.markers.labels, strict=True):
        ax.axvline(float(place), color="0.35", linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=0.6)
        ax.annotate(
            for_mathtext(text),
            (float(place), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
            fontfamily=ax.xaxis.label.get_fontfamily(),
        )


def _share_heights(axes: Sequence[Axes]) -> None:
    low, high = min(ax.get_ylim()[0] for ax in axes), max(ax.get_ylim()[1] for ax in axes)
    logarithmic = low > 0 and any(ax.get_yscale() == "log" for ax in axes)
    for ax in axes:
        if logarithmic:
            log_axis(ax.yaxis, np.array([low, high]))
        ax.set_ylim(low, high)
