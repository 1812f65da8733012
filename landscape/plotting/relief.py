"""Surfaces as reliefs: the loss as a height over the plane, several on one scale of heights and colours."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from landscape.plotting.caption import UNNAMED, axis_labels, quantity
from landscape.plotting.page import fit_height, grid_of, page
from landscape.plotting.scale import Scale, number, shared_scale
from landscape.plotting.style import Width, paper
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

_VIEW = {"elev": 28.0, "azim": -55.0}
_NET = 50  # lines of the net in each direction; more would blacken a small panel


def relief(surface: Surface, *, ax: Axes | None = None, norm: Normalize | None = None) -> Axes:
    """Draws a surface as a relief, whose height is logarithmic if its colours are.

    Points whose loss is not finite or was not computed are holes, with crosses on the floor.

    Args:
        surface: The surface.
        ax: Axes with ``projection="3d"``; by default those of a new figure of one column.
        norm: Map from loss to colour; by default logarithmic if losses are positive and spread.

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
    """Draws reliefs beside each other, seen from one side, on one scale.

    Args:
        surfaces: The surfaces, at least one.
        titles: A title for each, or none.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``.
        norm: Map from loss to colour, in all panels.

    Raises:
        UsageError: There is no surface, or the number of titles differs; the venue is unknown.
    """
    with paper():
        figure, axes = page(len(surfaces), venue=venue, width=width, titles=titles, projection="3d")
        scale = shared_scale(surfaces, norm=norm)
        for surface, ax in zip(surfaces, axes, strict=True):
            _draw(surface, cast(Axes3D, ax), scale, brief=len(surfaces) > 1)
        mappable = ScalarMappable(scale.norm, scale.colours)
        label = for_mathtext(quantity(surfaces))
        bar = figure.colorbar(mappable, ax=axes, shrink=0.6, aspect=25, pad=0.1, label=label)
        bar.set_ticks(scale.ticks, labels=[number(tick) for tick in scale.ticks])
        bar.ax.minorticks_off()
        rows, columns = grid_of(axes)
        side = min(2.8, float(figure.get_size_inches()[0]) / columns)
        return fit_height(figure, rows * 0.9 * side)


def _heights(loss: NDArray[np.float64], norm: Normalize) -> NDArray[np.float64]:
    """The heights of losses: their logarithms if the norm is logarithmic; NaN if they are not finite."""
    finite = np.where(np.isfinite(loss), loss, np.nan)
    if not isinstance(norm, LogNorm):
        return finite
    lowest = float(norm.vmin or np.finfo(np.float64).tiny)
    return np.log10(np.maximum(finite, lowest))


def _draw(surface: Surface, ax: Axes3D, scale: Scale, *, brief: bool = False) -> None:
    across, along = np.meshgrid(surface.x, surface.y)
    height = _heights(surface.loss, scale.norm)
    floor, top = _heights(np.array([scale.levels[0], scale.levels[-1]]), scale.norm)
    missing = np.isnan(height)
    colours = ScalarMappable(scale.norm, scale.colours).to_rgba(np.where(missing, np.nan, surface.loss))
    # The thin net shows the shape where colours do not, on grey paper.
    net = {"rcount": _NET, "ccount": _NET, "edgecolor": (0, 0, 0, 0.35), "linewidth": 0.15}
    drawn = ax.plot_surface(across, along, height, facecolors=colours, shade=False, **net)
    drawn.set_rasterized(True)
    if missing.any():
        on_floor = np.full(int(missing.sum()), floor)
        cross = {"color": "0.45", "markersize": 2, "markeredgewidth": 0.4}
        ax.plot(across[missing], along[missing], on_floor, "x", **cross)
    ax.set(xlim=(surface.x[0], surface.x[-1]), ylim=(surface.y[0], surface.y[-1]), zlim=(floor, top))
    first, second = UNNAMED if brief else axis_labels(surface)
    # matplotlib leaves room for labels of 10 pt between the axes and their names; the pads take it back.
    ax.set_xlabel(for_mathtext(first), labelpad=-9)
    ax.set_ylabel(for_mathtext(second), labelpad=-9)
    ax.view_init(**_VIEW)
    ax.set_box_aspect((1, 1, 0.7), zoom=1.0 if brief else 0.98)
    for name in "xy":
        # The numbers at the ends would run into those of the next axis.
        ax.locator_params(axis=name, nbins=3 if brief else 5, prune="both")
    ticks = scale.ticks[:: 1 + len(scale.ticks) // 5]
    ax.set_zticks(_heights(np.array(ticks), scale.norm), labels=[number(tick) for tick in ticks])
    for axis, pad in ((ax.xaxis, -4), (ax.yaxis, -4), (ax.zaxis, -1)):
        axis.set_tick_params(pad=pad)
        axis.pane.set(facecolor="white", edgecolor="0.8")
        axis.line.set_linewidth(0.5)
    ax.grid(False)
