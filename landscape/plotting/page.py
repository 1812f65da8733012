"""A figure of a venue's width: axes in rows and columns, and the height that they need."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from landscape.errors import UsageError
from landscape.plotting.scale import number
from landscape.plotting.style import Width, figure_width

_PADDING = 0.02
# A panel narrower than this, in inches, has no room for the labels of its axis.
_NARROWEST = 1.6


def columns_for(count: int, inches: float) -> int:
    """How many panels go beside each other on a page: all in one row if they fit, else in even rows."""
    most = min(count, max(2, int(inches / _NARROWEST)))
    rows = -(-count // most)
    return -(-count // rows)


def page(count: int, *, venue: str, width: Width, shape: float = 0.72) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes, to be called within :func:`landscape.plotting.paper`.

    Args:
        count: Of axes.
        venue: Whose page it is for.
        width: ``column`` or ``text``: the figure is exactly as wide.
        shape: Height over width of a panel.

    Raises:
        UsageError: The venue or the width is not known.
    """
    inches = figure_width(venue, width)
    columns = columns_for(count, inches)
    rows = -(-count // columns)
    figure = Figure(figsize=(inches, rows * shape * inches / max(columns, 1.4)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in grid[count:]:
        ax.remove()
    return figure, grid[:count]


def settle(figure: Figure) -> Figure:
    """Lays the figure out for good, so that it is the same whatever resolution the file has."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def fit_height(figure: Figure, width: float, height: float) -> Figure:
    """Takes away the height that panels of a fixed shape leave empty; the width stays exact."""
    figure.set_size_inches(width, height)
    for _ in range(2):
        figure.draw_without_rendering()
        used = figure.get_tightbbox()
        figure.set_size_inches(width, used.height + 2 * _PADDING)
    return settle(figure)


def legend_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend over all panels, in one row if it fits, where it covers nothing."""
    if not handles:
        return
    inches = float(figure.get_size_inches()[0])
    longest = max(len(str(handle.get_label())) for handle in handles)
    # A letter of 7 pt is about 0.05 inches wide, a key with its gaps 0.4.
    columns = max(1, min(len(handles), int(inches / (0.4 + 0.05 * longest))))
    # Legends fill column by column; the order of reading is along the rows.
    rows = -(-len(handles) // columns)
    order = [handles[i] for c in range(columns) for i in range(c, len(handles), columns)]
    figure.legend(
        handles=order if rows > 1 else list(handles),
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def with_one_title_each(what: str, count: int, titles: Sequence[str]) -> None:
    """Raises :class:`UsageError` unless there is something to draw, and a title for each of it or none."""
    if not count or len(titles) not in (0, count):
        raise UsageError(f"{count} {what} and {len(titles)} titles were given; give as many, or none")


def log_axis(axis: Axis, values: NDArray[np.float64]) -> None:
    """Makes an axis logarithmic, its ticks written as on a colour bar; within few decades 2 and 5 are named too."""
    finite = values[np.isfinite(values) & (values > 0)]
    few = finite.size > 0 and finite.max() / finite.min() < 100
    axis._set_axes_scale("log")  # type: ignore[attr-defined]
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def spread_widely(values: NDArray[np.float64]) -> bool:
    """Whether numbers are positive and spread over more than a decade, so that a log axis shows them better."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > 10)
