"""The merge tree of a surface, drawn beside the surface: where its basins are, and at which loss they join."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from landscape.plotting.caption import axis_labels, quantity
from landscape.plotting.contour import contour
from landscape.plotting.line import line
from landscape.plotting.overlay import beside
from landscape.plotting.page import axes_or_page, is_log, log_axis, page, settle
from landscape.plotting.style import Width, paper
from landscape.records.surface import Surface
from landscape.surfaces.merge_tree import Basin, MergeTree
from landscape.tables.escaping import for_mathtext

MOST_DRAWN = 16
"""Of more basins, the deepest are drawn."""
_SURE, _UNSURE, _DOUBT = "0.1", "0.6", "#7FB2E5"
_OUTLINE = [patheffects.withStroke(linewidth=1.6, foreground="white")]


def merge_tree_lines(tree: MergeTree, *, ax: Axes | None = None, quantity: str = "loss") -> Axes:
    """Draws a merge tree: each basin rises from its minimum to the saddle at which it joins a deeper one.

    Basins are numbered by depth. A blue bar at the minimum is as long as the doubt of the depth; where it reaches the
    saddle, the basin is not resolved, and grey. A basin that joins none ends at the highest loss, in a triangle.

    Args:
        tree: The tree; its deepest basins are drawn.
        ax: The axes to draw on; by default those of a new figure of one column.
        quantity: Name of the loss.

    Returns:
        The axes.
    """
    basins = tree.basins[:MOST_DRAWN]
    order = _in_order(basins)
    place = {number: k for k, number in enumerate(order)}
    with axes_or_page(ax) as ax:
        lowest = min(basin.birth for basin in basins)
        heights = np.array([lowest, tree.highest, *(basin.birth for basin in basins)])
        if is_log(heights):
            log_axis(ax.yaxis, heights)
        for number, basin in enumerate(basins):
            x, colour = place[number], _SURE if basin.is_resolved else _UNSURE
            top = tree.highest if basin.into is None else basin.death
            bar = min(basin.doubt, tree.highest - basin.birth)
            ax.plot([x, x], [basin.birth, basin.birth + bar], color=_DOUBT, linewidth=3.5, zorder=2)
            ax.plot([x, x], [basin.birth, top], color=colour, zorder=3)
            ax.plot([x], [basin.birth], "o", color=colour, markersize=3, zorder=4)
            if basin.into is None:
                ax.plot([x], [top], "^", color=colour, markersize=3.5, zorder=4)
            else:
                ax.plot([x, place[basin.into]], [top, top], color=colour, zorder=3)
        ax.set_xlim(-0.6, len(basins) - 0.4)
        ax.xaxis.set_major_locator(FixedLocator(range(len(basins))))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: str(order[round(x)] + 1)))
        ax.set(xlabel="basin", ylabel=for_mathtext(quantity))
    return ax


def basin_figure(surface: Surface, tree: MergeTree, *, venue: str = "icml", width: Width = "text") -> Figure:
    """The surface with the numbers of its basins at their minima, and its merge tree.

    Args:
        surface: A line, or a surface on a plane.
        tree: Its tree; the deepest basins are drawn.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``.
    """
    name = quantity([surface])
    with paper():
        figure, (left, right) = page(2, venue=venue, width=width, layout="compressed")
        if surface.is_line:
            line(surface.x, {"": surface.loss[0]}, ax=left, label=axis_labels(surface)[0], quantity=name)
        else:
            contour(surface, ax=left)
        for number, basin in enumerate(tree.basins[:MOST_DRAWN], start=1):
            _mark(left, surface, basin, str(number))
        merge_tree_lines(tree, ax=right, quantity=name)
        return settle(figure)


def _in_order(basins: Sequence[Basin]) -> list[int]:
    """The basins from left to right, so that no line crosses another: those that join first are nearest."""
    children: dict[int | None, list[int]] = {}
    for number, basin in enumerate(basins):
        children.setdefault(basin.into, []).append(number)
    order: list[int] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        number = waiting.pop()
        order.append(number)
        waiting += sorted(children.get(number, ()), key=lambda child: -basins[child].death)
    return order


def _mark(ax: Axes, surface: Surface, basin: Basin, number: str) -> None:
    """The number of a basin at its minimum, and a cross at its saddle."""
    row, column = basin.minimum
    colour = _SURE if basin.is_resolved else _UNSURE
    low = (surface.x[column], basin.birth if surface.is_line else surface.y[row])
    style: dict[str, Any] = {"path_effects": _OUTLINE, "zorder": 7, "color": colour}
    if basin.saddle is not None:
        up, across = basin.saddle
        high = (surface.x[across], basin.death if surface.is_line else surface.y[up])
        ax.plot(*high, "x", markersize=3, markeredgewidth=0.8, **style)
    ax.plot(*low, "o", markersize=2.4, clip_on=False, **style)
    above = low[1] < sum(ax.get_ylim()) / 2 or surface.is_line
    # Inside the frame also where the minimum is on it.
    inwards = 5 * (int(column == 0) - int(column == len(surface.x) - 1))
    place: dict[str, Any] = {"xytext": (inwards, 3 if above else -3), "va": "bottom" if above else "top"}
    ax.annotate(number, low, **place, **style, **beside(ax))
