"""A figure of a venue's width: its axes, legend, scales and height."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

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
from landscape.plotting.series import split_keys
from landscape.plotting.style import Width, chosen_look, figure_size, paper
from landscape.tables.escaping import for_mathtext

_PADDING = 0.02
_NARROWEST = 1.6  # inches; in a narrower panel, the tick labels run into each other


class Page(Figure):
    """A figure that a notebook shows, although pyplot does not know it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=192)
        return buffer.getvalue(), {
            "width": round(96 * float(self.get_size_inches()[0]))
        }  # sharp on any screen


def page(
    count: int,
    *,
    venue: str,
    width: Width,
    shape: float = 0.72,
    titles: Sequence[str] = (),
    layout: Literal["constrained", "compressed"] = "constrained",
    projection: str | None = None,
    stacked: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with some axes, to be called within :func:`landscape.plotting.paper`.

    Args:
        count: Number of axes: all in one row if they fit, otherwise in even rows.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``; the figure is exactly as wide.
        shape: Height over width of a panel.
        titles: A title for each of the axes, or none.
        layout: The layout engine.
        projection: The projection of the axes.
        stacked: One below the other, over one horizontal axis.

    Raises:
        UsageError: There are no axes, or the number of titles differs; the venue or the width is unknown.
    """
    if not count or len(titles) not in (0, count):
        raise UsageError(f"{count} panels and {len(titles)} titles were given; give as many titles, or none")
    inches, height = figure_size(venue, width)
    # Two panels share even the narrowest column.
    most = 1 if stacked else min(count, max(2, int(inches / _NARROWEST)))
    rows = -(-count // most)
    columns = -(-count // rows)
    # A single panel is as tall as if it were 1/1.4 of the width: it would fill half a page otherwise.
    figure = Page(
        figsize=(inches, height or rows * shape * inches / (columns if stacked else max(columns, 1.4))),
        layout=layout,
    )
    # Not pyplot, which keeps figures alive and picks a backend by the screen.
    FigureCanvasAgg(figure)
    keywords = {"projection": projection}
    axes = figure.subplots(rows, columns, squeeze=False, sharex=stacked, subplot_kw=keywords)
    grid = list(axes.flat)
    for ax in grid[count:]:
        ax.remove()
    for ax, title in zip(grid, titles, strict=False):
        ax.set_title(for_mathtext(title))
    return figure, grid[:count]


def grid_of(axes: Sequence[Axes]) -> tuple[int, int]:
    """The rows and columns of the page that axes are on."""
    spec = axes[0].get_subplotspec()
    assert spec is not None
    return spec.get_gridspec().nrows, spec.get_gridspec().ncols


@contextlib.contextmanager
def axes_or_page(ax: Axes | None, *, shape: float = 0.72, splits: Iterable[str] = ()) -> Iterator[Axes]:
    """The axes to draw on: the caller's, or those of a new figure of one column, with a legend of the splits."""
    if ax is not None:
        yield ax
        return
    with paper():
        figure, (ax,) = page(1, venue="icml", width="column", shape=shape)
        yield ax
        legend_above(figure, split_keys(splits))
        settle(figure)


def settle(figure: Figure) -> Figure:
    """Lays the figure out and freezes the layout."""
    # Otherwise, it is laid out again when it is saved, and the result depends on the resolution of the file.
    _lay_out(figure)
    figure.set_layout_engine("none")
    return figure


def _lay_out(figure: Figure) -> None:
    """Places the axes, without drawing what is in them, as ``Figure.draw_without_rendering`` would."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)


def fit_height(figure: Figure, height: float) -> Figure:
    """Removes the height that panels of a fixed shape leave empty, unless it was chosen; the width stays exact."""
    if chosen_look().size:
        return settle(figure)
    width = float(figure.get_size_inches()[0])
    figure.set_size_inches(width, height)
    for _ in range(2):  # labels move when the height changes; the second time, they stay
        _lay_out(figure)
        used = figure.get_tightbbox()
        figure.set_size_inches(width, used.height + 2 * _PADDING)
    return settle(figure)


def legend_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above all panels, where it covers nothing; in one row if it fits."""
    if not handles:
        return
    inches = float(figure.get_size_inches()[0])
    longest = max(len(str(handle.get_label())) for handle in handles)
    # A letter of 7 pt is about 0.05 inches wide, a key with its gaps 0.4.
    columns = max(1, min(len(handles), int(inches / (0.4 + 0.05 * longest))))
    # Legends are filled column by column, but read along the rows.
    order = [handles[i] for c in range(columns) for i in range(c, len(handles), columns)]
    style: dict[str, Any] = {
        "frameon": False,
        "handlelength": 2.2,
        "columnspacing": 1.2,
        "borderaxespad": 0.2,
    }
    figure.legend(handles=order, loc="outside upper center", ncols=columns, **style)


def log_axis(axis: Axis, values: NDArray[np.float64]) -> None:
    """Makes an axis logarithmic, with ticks as on a colour bar; within two decades, 2 and 5 are labelled too."""
    finite = values[np.isfinite(values) & (values > 0)]
    few = finite.size > 0 and finite.max() / finite.min() < 100
    # The public set_xscale and set_yscale belong to axes, and this function is given an axis.
    axis._set_axes_scale("log")  # type: ignore[attr-defined]
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def is_log(values: NDArray[np.float64]) -> bool:
    """Whether the axis of some numbers is logarithmic: as :func:`landscape.plotting.paper` says, or if it suits them.

    Raises:
        UsageError: A logarithmic axis is requested for numbers that are not positive.
    """
    finite, log = values[np.isfinite(values)], chosen_look().log
    if log and finite.size and finite.min() <= 0:
        raise UsageError(
            f"--log: a logarithmic axis has positive numbers only, and the lowest is {finite.min():g}; use --linear"
        )
    spread = bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > 10)
    return spread if log is None else log
