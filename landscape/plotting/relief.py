"""Surfaces as reliefs: the loss as a height over the plane, several on one scale of heights and colours."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from landscape.plotting.bands import UNNAMED, axis_labels, quantity
from landscape.plotting.page import columns_for, fit_height, with_one_title_each
from landscape.plotting.scale import Scale, number, shared_scale
from landscape.plotting.style import Width, figure_width, paper
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

ELEVATION, AZIMUTH = 28.0, -55.0
"""Where a relief is seen from, in degrees; the same for all panels."""

_NET = 50


def relief(surface: Surface, *, ax: Axes | None = None, norm: Normalize | None = None) -> Axes:
    """Draws a surface as a relief, its height logarithmic where the colours are.

    Places where the loss is not finite or was not computed are holes, and crosses on the floor.

    Args:
        surface: What to draw.
        ax: Where, with ``projection="3d"``; by default in a figure of its own, of one column.
        norm: From loss to colour; by default logarithmic where losses are positive and spread.

    Returns:
        The axes.
    """
    if ax is None:
        return reliefs([surface], norm=norm).axes[0]
    _draw(surface, cast(Axes3D, ax), shared_scale([surface], norm=norm))
    return ax


def reliefs(
    surfaces: Sequence[Surface],
    titles: Sequence[str] = (),
    *,
    venue: str = "icml",
    width: Width = "column",
    norm: Normalize | None = None,
) -> Figure:
    """Draws several reliefs beside each other, seen from one side, on one scale.

    Args:
        surfaces: One or more.
        titles: One for each, or none.
        venue: Whose page the figure is for.
        width: ``column`` or ``text``.
        norm: From loss to colour, in all panels.

    Raises:
        UsageError: No surface, or another number of titles; an unknown venue.
    """
    with_one_title_each("surfaces", len(surfaces), titles)
    inches = figure_width(venue, width)
    columns = columns_for(len(surfaces), inches)
    rows = -(-len(surfaces) // columns)
    scale = shared_scale(surfaces, norm=norm)
    side = min(2.8, inches / columns)
    with paper():
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        grid = list(figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "3d"}).flat)
        for ax in grid[len(surfaces) :]:
            ax.remove()
        for surface, ax in zip(surfaces, grid, strict=False):
            _draw(surface, ax, scale, brief=len(surfaces) > 1)
        for title, ax in zip(titles, grid, strict=False):
            ax.set_title(for_mathtext(title))
        shown = ScalarMappable(scale.norm, scale.colours)
        bar = figure.colorbar(
            shown,
            ax=grid[: len(surfaces)],
            shrink=0.6,
            aspect=25,
            pad=0.1,
            label=for_mathtext(quantity(surfaces)),
        )
        bar.set_ticks(scale.ticks, labels=[number(tick) for tick in scale.ticks])
        bar.ax.minorticks_off()
        return fit_height(figure, inches, rows * 0.9 * side)


def heights(loss: NDArray[np.float64], norm: Normalize) -> NDArray[np.float64]:
    """The heights of losses: their logarithms where the norm is logarithmic; NaN where they are not finite."""
    finite = np.where(np.isfinite(loss), loss, np.nan)
    if not isinstance(norm, LogNorm):
        return finite
    lowest = float(norm.vmin or np.finfo(np.float64).tiny)
    return np.log10(np.maximum(finite, lowest))


def _draw(surface: Surface, ax: Axes3D, scale: Scale, *, brief: bool = False) -> None:
    across, along = np.meshgrid(surface.x, surface.y)
    height = heights(surface.loss, scale.norm)
    floor, top = heights(np.array([scale.levels[0], scale.levels[-1]]), scale.norm)
    colours = ScalarMappable(scale.norm, scale.colours).to_rgba(
        np.where(np.isnan(height), np.nan, surface.loss)
    )
    # The thin net shows the form where colours do not, on grey paper.
    drawn = ax.plot_surface(
        across,
        along,
        height,
        facecolors=colours,
        rcount=_NET,
        ccount=_NET,
        edgecolor=(0, 0, 0, 0.35),
        linewidth=0.15,
        shade=False,
    )
    drawn.set_rasterized(True)
    missing = np.isnan(height)
    if missing.any():
        on_floor = np.full(int(missing.sum()), floor)
        ax.plot(
            across[missing], along[missing], on_floor, "x", color="0.45", markersize=2, markeredgewidth=0.4
        )
    ax.set(xlim=(surface.x[0], surface.x[-1]), ylim=(surface.y[0], surface.y[-1]), zlim=(floor, top))
    _dress(surface, ax, scale, brief=brief)


def _dress(surface: Surface, ax: Axes3D, scale: Scale, *, brief: bool) -> None:
    first, second = UNNAMED if brief else axis_labels(surface)
    ax.set_xlabel(for_mathtext(first), labelpad=-9)
    ax.set_ylabel(for_mathtext(second), labelpad=-9)
    ax.view_init(elev=ELEVATION, azim=AZIMUTH)
    ax.set_box_aspect((1, 1, 0.7), zoom=1.0 if brief else 0.98)
    for name in "xy":
        # The numbers at the ends would run into those of the next axis.
        ax.locator_params(axis=name, nbins=3 if brief else 5, prune="both")
    named = scale.ticks[:: 1 + len(scale.ticks) // 5]
    ax.set_zticks(heights(np.array(named), scale.norm), labels=[number(tick) for tick in named])
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_tick_params(pad=-4)
        axis.pane.set(facecolor="white", edgecolor="0.8")
        axis.line.set_linewidth(0.5)
    ax.zaxis.set_tick_params(pad=-1)
    ax.grid(False)
