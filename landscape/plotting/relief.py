"""Surfaces as reliefs: the loss as a height over the plane, several on one scale of heights and colours."""

import itertools
from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LightSource, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, BboxBase
from mpl_toolkits.mplot3d import proj3d
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from landscape.plotting.caption import UNNAMED, axis_labels, quantity
from landscape.plotting.page import grid_of, page, settle
from landscape.plotting.scale import Scale, number, shared_scale
from landscape.plotting.style import Width, chosen_look, paper
from landscape.plotting.viewpoint import HEIGHT, viewpoint
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

View = tuple[float, float]
"""Elevation and azimuth in degrees."""

_NET = 50  # lines of the net in each direction; more would blacken a small panel
_CLIPPED = (0.82, 0.82, 0.82, 1.0)
_DARKEST = 0.7  # of a slope that the light does not reach; darker ones would hide their colour
_MARGIN = 0.03  # inches
_TALLEST = 4.0  # inches, of a panel where no height is chosen: on a wide page, one would fill it otherwise


def relief(
    surface: Surface, *, ax: Axes | None = None, norm: Normalize | None = None, view: View | None = None
) -> Axes:
    """Draws a surface as a relief, whose height is logarithmic if its colours are.

    Points whose loss is not finite or was not computed are holes, with crosses on the floor. Losses beyond the scale
    are drawn at its end, in grey.

    Args:
        surface: The surface.
        ax: Axes with ``projection="3d"``; by default those of a new figure of one column.
        norm: Map from loss to colour; by default logarithmic if losses are positive and spread.
        view: Elevation and azimuth in degrees; by default, where the valley is seen best.

    Returns:
        The axes.
    """
    if ax is None:
        return reliefs([surface], norm=norm, view=view).axes[0]
    scale = shared_scale([surface], norm=norm)
    _draw(surface, cast(Axes3D, ax), scale, view or best_view([surface], scale))
    return ax


def reliefs(
    surfaces: Sequence[Surface],
    titles: Sequence[str] = (),
    *,
    venue: str = "icml",
    width: Width = "column",
    norm: Normalize | None = None,
    scale: Scale | None = None,
    view: View | None = None,
) -> Figure:
    """Draws reliefs beside each other, seen from one side, on one scale.

    Args:
        surfaces: The surfaces, at least one.
        titles: A title for each, or none.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``.
        norm: Map from loss to colour, in all panels.
        scale: The scale, instead of a norm.
        view: Elevation and azimuth in degrees; by default, where the valleys are seen best.

    Raises:
        UsageError: There is no surface, or the number of titles differs; the venue is unknown.
    """
    with paper():
        figure, axes = page(len(surfaces), venue=venue, width=width, titles=titles, projection="3d")
        scale = scale or shared_scale(surfaces, norm=norm)
        view = view or best_view(surfaces, scale)
        for surface, ax in zip(surfaces, axes, strict=True):
            _draw(surface, cast(Axes3D, ax), scale, view, brief=len(surfaces) > 1)
        _, columns = grid_of(axes)
        for ax in axes[columns - 1 :: columns]:
            # The heights have the name that a colour bar would have, which would only repeat them.
            cast(Axes3D, ax).set_zlabel(
                for_mathtext(quantity(surfaces)), labelpad=-4 if len(axes) == 1 else -7
            )
        return _fill(figure, axes)


def best_view(surfaces: Sequence[Surface], scale: Scale) -> View:
    """The direction from which the lowest parts of all surfaces are seen best."""
    return viewpoint([_heights(surface.loss, scale) for surface in surfaces])


def _heights(loss: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Heights from 0 to 1 on the scale, clipped at its ends; NaN where a loss is not finite."""
    clipped = np.clip(np.where(np.isfinite(loss), loss, np.nan), scale.levels[0], scale.levels[-1])
    return np.ma.filled(scale.norm(clipped), np.nan)


def _colours(surface: Surface, height: NDArray[np.float64], scale: Scale, view: View) -> NDArray[np.float64]:
    """The colours of losses, darker on slopes away from a light at the upper left of the picture."""
    inside = np.where(np.isnan(height), np.nan, surface.loss)
    colours = ScalarMappable(scale.norm, scale.colours).to_rgba(inside)
    colours[(inside < scale.levels[0]) | (inside > scale.levels[-1])] = _CLIPPED
    rows, columns = height.shape
    # The light turns with the view; its azimuth is clockwise from the second direction.
    light = LightSource(azdeg=(90 - view[1] + 60) % 360, altdeg=45)
    steps = {"dx": 1 / max(columns - 1, 1), "dy": 1 / max(rows - 1, 1)}
    bright = light.hillshade(np.nan_to_num(height) * HEIGHT, **steps)
    bright[np.isnan(sum(np.gradient(height)))] = 1  # no slope beside a hole
    colours[:, :, :3] *= (_DARKEST + (1 - _DARKEST) * bright)[:, :, None]
    return colours


def _draw(surface: Surface, ax: Axes3D, scale: Scale, view: View, *, brief: bool = False) -> None:
    across, along = np.meshgrid(surface.x, surface.y)
    height = _heights(surface.loss, scale)
    missing = np.isnan(height)
    colours = _colours(surface, height, scale, view)
    # The thin net shows the shape where colours do not, on grey paper.
    net = {"rcount": _NET, "ccount": _NET, "edgecolor": (0, 0, 0, 0.3), "linewidth": 0.15}
    drawn = ax.plot_surface(across, along, height, facecolors=colours, shade=False, **net)
    drawn.set_rasterized(True)
    if missing.any():
        cross = {"color": "0.45", "markersize": 2, "markeredgewidth": 0.4}
        ax.plot(across[missing], along[missing], np.zeros(int(missing.sum())), "x", **cross)
    ax.set(xlim=(surface.x[0], surface.x[-1]), ylim=(surface.y[0], surface.y[-1]), zlim=(0, 1))
    first, second = UNNAMED if brief else axis_labels(surface)
    # matplotlib leaves room for labels of 10 pt between the axes and their names; the pads take it back.
    for axis, text in ((ax.xaxis, first), (ax.yaxis, second)):
        axis.set_label_text(for_mathtext(text))
        axis.labelpad = -9 if brief else -7
    ax.view_init(*view)
    ax.set_box_aspect((1, 1, HEIGHT))
    for name in "xy":
        # The numbers at the ends would run into those of the next axis.
        ax.locator_params(axis=name, nbins=3 if brief else 5, prune="both")
    ticks = scale.ticks[:: 1 + len(scale.ticks) // 5]
    ax.set_zticks(_heights(np.array(ticks), scale), labels=[number(tick) for tick in ticks])
    right = "upper" if np.cos(np.radians(view[1])) > 0 else "lower"
    ax.zaxis.set_ticks_position(right)
    ax.zaxis.set_label_position(right)
    for axis, pad in ((ax.xaxis, -4), (ax.yaxis, -4), (ax.zaxis, -1)):
        axis.set_tick_params(pad=pad)
        axis.pane.set(facecolor="white", edgecolor="0.8")
        axis.line.set_linewidth(0.5)
    ax.grid(False)


def _fill(figure: Figure, axes: Sequence[Axes]) -> Figure:
    """Moves and enlarges axes until the drawing fills the page; matplotlib leaves wide margins around a 3-D box."""
    settle(figure)
    rows, columns = grid_of(axes)
    width, size = float(figure.get_size_inches()[0]), chosen_look().size
    room = (size[1] / rows if size else _TALLEST) - 2 * _MARGIN
    for _ in range(4):  # names and numbers keep their size when the axes grow, so that each pass comes closer
        figure.draw_without_rendering()
        inches = figure.dpi_scale_trans.inverted()
        boxes = [_ink(cast(Axes3D, ax)).transformed(inches) for ax in axes]
        frames = [ax.get_window_extent().transformed(inches) for ax in axes]
        tall = max(box.height for box in boxes)
        # A column is as wide as its content: only the last one has the label of the heights.
        wide = [max(box.width for box in boxes[column::columns]) for column in range(columns)]
        growth = min((width - 2 * _MARGIN * columns) / sum(wide), room / tall)
        row = (room if size else tall * growth) + 2 * _MARGIN
        spare = (width / growth - sum(wide)) / columns
        figure.set_size_inches(width, row * rows)
        for index, (ax, box, frame) in enumerate(zip(axes, boxes, frames, strict=True)):
            side, column = frame.width * growth, index % columns
            middle = growth * (sum(wide[:column]) + wide[column] / 2 + (column + 0.5) * spare)
            left = middle + growth * (frame.x0 - box.x0 - box.width / 2)
            bottom = (rows - index // columns - 0.5) * row + growth * (frame.y0 - box.y0 - box.height / 2)
            ax.set_position((left / width, bottom / (row * rows), side / width, side / (row * rows)))
    return figure


def _ink(ax: Axes3D) -> BboxBase:
    """The extent of the drawing in pixels, with the box around the surface, which matplotlib leaves out."""
    corners = np.array(list(itertools.product(ax.get_xlim(), ax.get_ylim(), ax.get_zlim())))
    x, y, _ = proj3d.proj_transform(*corners.T, ax.get_proj())
    flat = ax.transData.transform(np.column_stack([x, y]))
    return Bbox.union([ax.get_tightbbox(), Bbox.from_extents(*flat.min(axis=0), *flat.max(axis=0))])
