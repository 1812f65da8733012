"""Optimizers side by side: a dot for each seed, a bar at the mean, one panel a measure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.comparison import Table
from landscape.errors import UsageError
from landscape.plotting.page import columns_for, log_axis, page, settle, spread_widely
from landscape.plotting.series import Series
from landscape.plotting.style import Width, figure_width, paper
from landscape.tables.escaping import for_mathtext


def dots(
    rows: Mapping[str, Sequence[float]],
    *,
    ax: Axes | None = None,
    label: str = "",
    series: Series | None = None,
) -> Axes:
    """Draws the values of every row as dots on its line, a dot a run, and their mean as an upright bar.

    Values that are not finite cannot be placed; how many there are is written at the end of the line.

    Args:
        rows: Values by row, in order from above.
        ax: Where; by default in a figure of its own, of one column.
        label: What is measured, with its unit.
        series: The colours; by default one a row.

    Raises:
        UsageError: There is no row.
    """
    if not rows:
        raise UsageError("there is nothing to draw: no row was given")
    looks = series or Series(rows)
    if ax is None:
        with paper():
            figure, (own,) = page(1, venue="icml", width="column", shape=_shape(len(rows)))
            dots(rows, ax=own, label=label, series=looks)
            settle(figure)
            return own
    everything = np.array([value for values in rows.values() for value in values], dtype=np.float64)
    if spread_widely(everything):
        log_axis(ax.xaxis, everything)
    for height, (row, values) in enumerate(rows.items()):
        finite = [value for value in values if math.isfinite(value)]
        ax.plot(
            finite,
            # Dots of equal runs would hide each other on one line.
            height + _beside(len(finite)),
            looks.marker(row),
            color=looks.colour(row),
            markersize=3.5,
            fillstyle="none",
            markeredgewidth=0.7,
        )
        if finite:
            ax.plot(
                [float(np.mean(finite))],
                [height],
                "|",
                color=looks.colour(row),
                markersize=11,
                markeredgewidth=1.3,
            )
        if len(finite) < len(values):
            ax.annotate(
                f"{len(values) - len(finite)} not finite",
                (1, height + 0.3),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7,
            )
    ax.set_yticks(range(len(rows)), [*map(for_mathtext, rows)])
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
        table: Of :func:`landscape.compare`.
        units: Of the columns, by name.
        venue: Whose page the figure is for.
        width: ``column`` or ``text``.
    """
    looks = Series(table.rows)
    count = len(table.columns)
    across = columns_for(count, figure_width(venue, width))
    with paper():
        figure, axes = page(count, venue=venue, width=width, shape=_shape(len(table.rows)))
        for index, (column, ax) in enumerate(zip(table.columns, axes, strict=True)):
            percent = column.partition(":")[0] == "accuracy"
            found = {
                row: [100 * value if percent else value for value in table.cells[row, column].values]
                if (row, column) in table.cells
                else []
                for row in table.rows
            }
            unit = "%" if percent else (units or {}).get(column, "")
            dots(found, ax=ax, label=f"{column} ({unit})" if unit not in ("", "1") else column, series=looks)
            if ax.get_xscale() == "linear":
                ax.locator_params(axis="x", nbins=4)
            if index % across:
                ax.set_yticklabels([])
        return settle(figure)


def _shape(rows: int) -> float:
    """Height over width of a panel: a line for each row."""
    return min(1.4, 0.3 + 0.13 * rows)


def _beside(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.linspace(-0.18, 0.18, count) if count > 1 else np.zeros(count)
