"""Contours of a surface: bands of colour, labelled level lines, the centre, and hatching where no number is."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from landscape.errors import UsageError
from landscape.plotting.scale import Scale, number, shared_scale
from landscape.plotting.style import Width, figure_width, paper
from landscape.surfaces.surface import Surface

COLOURS = "viridis"
"""The colour map: even in lightness, so that it survives grey printing and colour blindness."""

_LARGEST_PANEL = 3.0
_SMALL_PANEL = 1.8
_PADDING = 0.02
# A line shorter than this, in points, has no room for its label.
_LABELLED = 90.0


def contour(
    surface: Surface,
    *,
    ax: Axes | None = None,
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
) -> Axes:
    """Draws a surface as filled contours with labelled lines.

    Losses that are not finite, and points that were not computed, are left out and hatched. The centre, where
    the grid has it, is marked. Losses beyond the levels are drawn in the colour of the end, which the colour
    bar shows by an arrow.

    Args:
        surface: What to draw.
        ax: Where; by default in a figure of its own, of one column, with a colour bar.
        levels: The losses that lines are drawn at; by default about ten round, log-spaced numbers.
        norm: From loss to colour; by default logarithmic where losses are positive and spread.

    Returns:
        The axes.
    """
    if ax is None:
        return panels([surface], levels=levels, norm=norm).axes[0]
    scale = shared_scale([surface], levels=levels, norm=norm)
    lines = _draw(surface, ax, scale)
    first, second = _labels(surface)
    ax.set(xlabel=first, ylabel=second)
    _label(ax, lines, scale)
    return ax


def panels(
    surfaces: Sequence[Surface],
    titles: Sequence[str] = (),
    *,
    venue: str = "icml",
    width: Width = "column",
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
) -> Figure:
    """Draws several surfaces beside each other, on one scale of colours with one colour bar.

    Args:
        surfaces: One or more.
        titles: One for each, or none.
        venue: Whose page the figure is for; see :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``: the figure is exactly as wide.
        levels: The losses that lines are drawn at, in all panels.
        norm: From loss to colour, in all panels.

    Raises:
        UsageError: No surface, or another number of titles; an unknown venue.
    """
    if not surfaces or len(titles) not in (0, len(surfaces)):
        raise UsageError(
            f"{len(surfaces)} surfaces and {len(titles)} titles were given; give as many, or none"
        )
    inches = figure_width(venue, width)
    columns = min(len(surfaces), max(2, int(inches / 1.6)))
    rows = math.ceil(len(surfaces) / columns)
    columns = math.ceil(len(surfaces) / rows)
    scale = shared_scale(surfaces, levels=levels, norm=norm)
    with paper():
        figure = Figure(layout="compressed")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False)
        drawn = [_draw(surface, ax, scale) for surface, ax in zip(surfaces, grid.flat, strict=False)]
        for title, ax in zip(titles, grid.flat, strict=False):
            ax.set_title(title)
        for ax in grid.flat:
            ax.locator_params(nbins=4 if inches / columns > _SMALL_PANEL else 2)
        for ax in grid.flat[len(surfaces) :]:
            ax.remove()
        _name_axes(figure, surfaces)
        _colour_bar(figure, scale, _quantity(surfaces))
        _fit_height(figure, inches, rows * min(_LARGEST_PANEL, inches / columns))
        for ax, lines in zip(grid.flat, drawn, strict=False):
            _label(ax, lines, scale)
    return figure


def _draw(surface: Surface, ax: Axes, scale: Scale) -> QuadContourSet | None:
    """Everything but the labels of the lines, whose places depend on the size of the axes."""
    lines = None
    shown = np.ma.masked_invalid(surface.loss)
    x, y = surface.x, surface.y
    if shown.mask.any():
        # What the contours leave out shows the hatching beneath.
        ax.add_patch(
            Rectangle(
                (x[0], y[0]),
                x[-1] - x[0],
                y[-1] - y[0],
                facecolor="0.93",
                edgecolor="0.45",
                hatch="//////",
                linewidth=0,
                zorder=0,
                label="not finite",
            )
        )
    if isinstance(scale.norm, LogNorm):
        # Losses of 0 are below every level, not missing.
        shown = np.ma.maximum(shown, np.finfo(np.float64).tiny)
    if shown.count():
        bands = ax.contourf(
            x, y, shown, levels=scale.levels, norm=scale.norm, cmap=COLOURS, extend=scale.extend, zorder=1
        )
        # Seams between the bands of a vector file show in some viewers.
        bands.set_rasterized(True)
        low, high = float(shown.min()), float(shown.max())
        crossed = [level for level in scale.levels if low < level < high]
        if crossed:
            lines = ax.contour(
                x, y, shown, levels=crossed, colors=_ink(crossed, scale), linewidths=0.4, linestyles="solid"
            )
    if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
        ax.plot(
            0, 0, "o", color="white", markeredgecolor="black", markeredgewidth=0.6, markersize=3, zorder=4
        )
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if np.isclose(x[-1] - x[0], y[-1] - y[0]):
        ax.set_aspect("equal")
    else:
        ax.set_box_aspect(1)
    return lines


def _ink(levels: Sequence[float], scale: Scale) -> list[str]:
    """White on dark bands, black on light ones."""
    rgb = ScalarMappable(scale.norm, COLOURS).to_rgba(np.array(levels))[:, :3]
    return ["white" if lightness < 0.5 else "black" for lightness in rgb @ (0.299, 0.587, 0.114)]


def _label(ax: Axes, lines: QuadContourSet | None, scale: Scale) -> None:
    """Writes the losses onto the lines that are long enough, those that the colour bar names first."""
    if lines is None:
        return
    points = 72 / ax.figure.dpi
    roomy = []
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        steps = [np.diff(ax.transData.transform(segment), axis=0) for segment in segments if len(segment)]
        if max((np.hypot(*step.T).sum() * points for step in steps), default=0.0) > _LABELLED:
            roomy.append(level)
    named = [level for level in roomy if level in scale.ticks] or roomy[::2]
    ax.clabel(lines, named, fmt=number, inline=True, inline_spacing=1, fontsize=7)


def _name_axes(figure: Figure, surfaces: Sequence[Surface]) -> None:
    """Labels the axes, once for all panels if they agree."""
    names = [_labels(surface) for surface in surfaces]
    if len(surfaces) > 1 and len(set(names)) == 1:
        figure.supxlabel(names[0][0])
        figure.supylabel(names[0][1])
        return
    for ax, (first, second) in zip(figure.axes, names, strict=True):
        ax.set(xlabel=first, ylabel=second)


def _colour_bar(figure: Figure, scale: Scale, label: str) -> None:
    artists = [artist for ax in figure.axes for artist in ax.collections]
    bands = next((artist for artist in artists if isinstance(artist, QuadContourSet)), None)
    if bands is None:
        return
    bar = figure.colorbar(bands, ax=figure.axes, aspect=30, pad=0.02, label=label)
    bar.set_ticks(scale.ticks, labels=[number(tick) for tick in scale.ticks])
    bar.ax.minorticks_off()


def _labels(surface: Surface) -> tuple[str, str]:
    plane = surface.meta.get("plane")
    labels = plane.get("labels") if isinstance(plane, Mapping) else None
    return (str(labels[0]), str(labels[1])) if labels else ("direction 1", "direction 2")


def _quantity(surfaces: Sequence[Surface]) -> str:
    names = {str(surface.meta.get("loss", "loss")) for surface in surfaces}
    return names.pop() if len(names) == 1 else "loss"


def _fit_height(figure: Figure, width: float, height: float) -> None:
    """Takes away the height that panels of a fixed shape leave empty; the width stays exact."""
    figure.set_size_inches(width, height)
    for _ in range(2):
        figure.draw_without_rendering()
        used = figure.get_tightbbox()
        figure.set_size_inches(width, used.height + 2 * _PADDING)
    figure.draw_without_rendering()
    # What is on the page now stays there, whatever resolution the file has.
    figure.set_layout_engine("none")
