"""Paths and checkpoints drawn over a surface."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from landscape.errors import UsageError
from landscape.plotting.series import colour_of
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

MISSING: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.45", "hatch": "//////", "linewidth": 0}
"""Style of places where the loss is not finite or was not computed."""

# A white outline, because paths cross dark and light bands.
_OUTLINE = [patheffects.withStroke(linewidth=1.6, foreground="white")]


def trajectory(points: ArrayLike, *, ax: Axes, colour: str = "black") -> Axes:
    """Draws the path of a run over a surface: a dot for each checkpoint, a ring at its start.

    The path does not change the limits of the axes.

    Args:
        points: Coordinates in the plane, ``(K, 2)``, in order.
        ax: The axes of the surface.
        colour: Colour of the path.

    Raises:
        UsageError: The points are not pairs.
    """
    x, y = _pairs("trajectory", points).T
    ring: dict[str, Any] = {
        "color": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 0.8,
        "markersize": 3.5,
    }
    with _fixed_limits(ax):
        ax.plot(x, y, color=colour, linewidth=0.9, path_effects=_OUTLINE, zorder=5)
        dot: dict[str, Any] = {"markersize": 2.6, "markeredgecolor": "white", "markeredgewidth": 0.3}
        ax.plot(x, y, "o", color=colour, zorder=5.1, **dot)
        ax.plot(x[:1], y[:1], "o", zorder=5.2, **ring)
    return ax


def markers(points: ArrayLike, labels: Sequence[str] = (), *, ax: Axes) -> Axes:
    """Draws checkpoints over a surface as crosses with their names.

    Args:
        points: Coordinates in the plane, ``(K, 2)``.
        labels: A name for each, or none.
        ax: The axes of the surface.

    Raises:
        UsageError: The points are not pairs, or the number of names differs.
    """
    places = _pairs("markers", points)
    if len(labels) not in (0, len(places)):
        raise UsageError(f"{len(places)} markers and {len(labels)} labels were given; give as many, or none")
    with _fixed_limits(ax):
        style: dict[str, Any] = {"markersize": 4, "markeredgewidth": 1.0, "path_effects": _OUTLINE}
        ax.plot(*places.T, "x", color="black", zorder=6, **style)
    middle = sum(ax.get_ylim()) / 2
    for (x, y), text in zip(places, labels, strict=False):
        above = y < middle
        place: dict[str, Any] = {"xytext": (0, 4 if above else -4), "va": "bottom" if above else "top"}
        style = {"path_effects": _OUTLINE, "zorder": 7, "annotation_clip": True}
        ax.annotate(for_mathtext(text), (x, y), **place, **style, **beside(ax))
    return ax


def draw_landmarks(surface: Surface, ax: Axes) -> None:
    """Draws the path and the checkpoints of a surface on a plane."""
    if surface.is_line:
        return
    if surface.trajectory is not None:
        colour = colour_of(str(surface.meta.get("label", "")), "black")
        trajectory(surface.trajectory.coordinates, ax=ax, colour=colour)
    if surface.markers is not None:
        markers(surface.markers.coordinates, surface.markers.labels, ax=ax)


def beside(ax: Axes) -> dict[str, Any]:
    """Style of a name beside a point, in the font of the axes whatever is set where this is called."""
    font = ax.xaxis.label.get_fontfamily()
    return {"textcoords": "offset points", "ha": "center", "fontsize": 7, "fontfamily": font}


def _pairs(name: str, points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise UsageError(f"{name} has shape {array.shape}; a plane needs points (K, 2)")
    return array


@contextlib.contextmanager
def _fixed_limits(ax: Axes) -> Iterator[None]:
    limits = ax.get_xlim(), ax.get_ylim()
    try:
        yield
    finally:
        ax.set(xlim=limits[0], ylim=limits[1])
