"""Rows side by side: a dot for each seed, a bar at the mean, one panel per measure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.comparison import Table
from landscape.errors import UsageError
from landscape.plotting.caption import headed
from landscape.plotting.page import axes_or_page, grid_of, is_log, log_axis, page, settle
from landscape.plotting.series import Series
from landscape.plotting.style import Width, paper
from landscape.registry.titles import row_title, title
from landscape.tables.escaping import for_mathtext


def dots(
    rows: Mapping[str, Sequence[float]],
    *,
    ax: Axes | None = None,
    label: str = "",
    series: Series | None = None,
) -> Axes:
    """Draws the values of each row as dots, one per run, and their mean as an upright bar.

    Values that are not finite have no place; their number is written at the end of the row.

    Args:
        rows: Values by row, from top to bottom.
        ax: The axes to draw on; by default those of a new figure of one column.
        label: The measure with its unit.
        series: Colours and markers; by default those of the names.

    Raises:
        UsageError: There is no row.
    """
    if not rows:
        raise UsageError("there is nothing to draw: no row was given")
    looks = series or Series(rows)
    everything = np.array([value for values in rows.values() for value in values], dtype=np.float64)
    with axes_or_page(ax, shape=_shape(len(rows))) as ax:
        if is_log(everything):
            log_axis(ax.xaxis, everything)
        for height, (row, values) in enumerate(rows.items()):
            colour = looks[row].colour
            finite = [value for value in values if math.isfinite(value)]
            # On one height, dots of equal runs would hide each other.
            apart = np.linspace(-0.18, 0.18, len(finite)) if len(finite) > 1 else np.zeros(len(finite))
            hollow: dict[str, Any] = {"markersize": 3.5, "fillstyle": "none", "markeredgewidth": 0.7}
            ax.plot(finite, height + apart, looks[row].marker, color=colour, **hollow)
            if finite:
                bar: dict[str, Any] = {"markersize": 11, "markeredgewidth": 1.3}
                ax.plot([float(np.mean(finite))], [height], "|", color=colour, **bar)
            if len(finite) < len(values):
                place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
                place |= {"xytext": (-2, 0), "ha": "right", "va": "center"}
                text = f"{len(values) - len(finite)} not finite"
                ax.annotate(text, (1, height + 0.3), fontsize=7, **place)
        ax.set_yticks(range(len(rows)), [for_mathtext(title(row)) for row in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.margins(x=0.08)
        ax.yaxis.grid(True, color="0.9", linewidth=0.5)
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(for_mathtext(label))
    return ax


def dot_panels(
    table: Table, units: Mapping[str, str] | None = None, *, venue: str = "icml", width: Width = "text"
) -> Figure:
    """One panel of dots for each column of a table.

    Args:
        table: A table of :func:`landscape.compare`.
        units: Units of the columns, by name.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``.
    """
    looks = Series(row_title(row, table.heading) for row in table.rows)
    with paper():
        figure, axes = page(len(table.columns), venue=venue, width=width, shape=_shape(len(table.rows)))
        for index, (column, ax) in enumerate(zip(table.columns, axes, strict=True)):
            label, factor = headed(column, (units or {}).get(column, ""))
            values = {
                row_title(row, table.heading): [factor * v for v in table.cells[row, column].values]
                if (row, column) in table.cells
                else []
                for row in table.rows
            }
            dots(values, ax=ax, label=label, series=looks)
            if ax.get_xscale() == "linear":
                ax.locator_params(axis="x", nbins=4)
            if index % grid_of(axes)[1]:  # rows are named once, at the left
                ax.set_yticklabels([])
        return settle(figure)


def _shape(rows: int) -> float:
    """Height over width of a panel with so many rows."""
    return min(1.4, 0.3 + 0.13 * rows)
