"""What is drawn over a surface: the path of a run, and the checkpoints that lie in the plane."""

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from landscape.errors import UsageError
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

_OUTLINE = [patheffects.withStroke(linewidth=1.6, foreground="white")]


def trajectory(points: ArrayLike, *, ax: Axes, label: str = "", colour: str = "black") -> Axes:
    """Draws the path of a run over a surface: a dot for each checkpoint, a ring at its start.

    The path never changes the limits of the axes: what lies outside is cut off there.

    Args:
        points: Coordinates in the plane, ``(K, 2)``, in order.
        ax: The axes of the surface.
        label: In a legend.
        colour: Of the path.

    Raises:
        UsageError: The points are not pairs.
    """
    path = pairs("trajectory", points)
    x, y = path.T
    with _Kept(ax):
        ax.plot(
            x,
            y,
            color=colour,
            linewidth=0.9,
            path_effects=_OUTLINE,
            zorder=5,
            label=for_mathtext(label or "_path"),
        )
        ax.plot(x, y, ".", color=colour, markersize=2.2, zorder=5.1)
        ax.plot(
            x[:1],
            y[:1],
            "o",
            color="white",
            markeredgecolor=colour,
            markeredgewidth=0.8,
            markersize=3.5,
            zorder=5.2,
        )
    return ax


def markers(points: ArrayLike, labels: Sequence[str] = (), *, ax: Axes) -> Axes:
    """Draws checkpoints over a surface as crosses, with their names.

    Args:
        points: Coordinates in the plane, ``(K, 2)``.
        labels: One for each, or none.
        ax: The axes of the surface.

    Raises:
        UsageError: The points are not pairs, or there are more or fewer names.
    """
    places = pairs("markers", points)
    if len(labels) not in (0, len(places)):
        raise UsageError(f"{len(places)} markers and {len(labels)} labels were given; give as many, or none")
    with _Kept(ax):
        ax.plot(
            *places.T, "x", color="black", markersize=4, markeredgewidth=1.0, path_effects=_OUTLINE, zorder=6
        )
    middle = sum(ax.get_ylim()) / 2
    for (x, y), text in zip(places, labels, strict=False):
        above = y < middle
        ax.annotate(
            for_mathtext(text),
            (x, y),
            xytext=(0, 4 if above else -4),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=7,
            # The font of the axes, whatever is set where this is called.
            fontfamily=ax.xaxis.label.get_fontfamily(),
            path_effects=_OUTLINE,
            zorder=7,
            annotation_clip=True,
        )
    return ax


def draw_landmarks(surface: Surface, ax: Axes) -> None:
    """Draws the path and the checkpoints that a surface on a plane has."""
    if surface.is_line:
        return
    if surface.trajectory is not None:
        trajectory(surface.trajectory.coordinates, ax=ax)
    if surface.markers is not None:
        markers(surface.markers.coordinates, surface.markers.labels, ax=ax)


def pairs(name: str, points: ArrayLike) -> NDArray[np.float64]:
    """Points as ``(K, 2)``.

    Raises:
        UsageError: They are something else.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise UsageError(f"{name} has shape {array.shape}; a plane needs points (K, 2)")
    return array


class _Kept:
    """A context that gives axes their limits back."""

    def __init__(self, ax: Axes) -> None:
        self.ax = ax

    def __enter__(self) -> None:
        self.limits = self.ax.get_xlim(), self.ax.get_ylim()

    def __exit__(self, *_: object) -> None:
        self.ax.set(xlim=self.limits[0], ylim=self.limits[1])
