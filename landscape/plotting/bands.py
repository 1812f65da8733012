"""A surface on axes: bands of colour, labelled level lines, the centre, hatching where no number is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from landscape.plotting.scale import Scale, number
from landscape.records.surface import Surface

# A line shorter than this, in points, has no room for its label.
_LABELLED = 90.0
MISSING: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.45", "hatch": "//////", "linewidth": 0}
"""How a place is drawn where the loss is not finite or was not computed."""
UNNAMED = ("direction 1", "direction 2")
"""What axes are called where there is no name, or no room for it."""


def draw_bands(surface: Surface, ax: Axes, scale: Scale, *, filled: bool = True) -> QuadContourSet | None:
    """Everything but the labels of the lines, whose places depend on the size of the axes.

    Args:
        surface: What to draw.
        ax: Where.
        scale: Levels and colours.
        filled: Bands of colour with thin lines between; otherwise lines in the colours of their levels.

    Returns:
        The lines, if there are any.
    """
    x, y = surface.x, surface.y
    shown = np.ma.masked_invalid(surface.loss)
    if shown.mask.any():
        # What the contours leave out shows the hatching beneath.
        frame = Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], zorder=0, label="not finite", **MISSING)
        ax.add_patch(frame)
    if isinstance(scale.norm, LogNorm):
        # Losses of 0 are below every level, not missing.
        shown = np.ma.maximum(shown, np.finfo(np.float64).tiny)
    lines = None
    if shown.count():
        if filled:
            bands = ax.contourf(
                x,
                y,
                shown,
                levels=scale.levels,
                norm=scale.norm,
                cmap=scale.colours,
                extend=scale.extend,
                zorder=1,
            )
            # Seams between the bands of a vector file show in some viewers.
            bands.set_rasterized(True)
        elif shown.mask.any():
            ax.contourf(
                x, y, shown, levels=[float(shown.min()) - 1, float(shown.max()) + 1], colors="white", zorder=1
            )
        _mark_clipped(ax, surface, shown, scale)
        lines = _level_lines(ax, surface, shown, scale, filled=filled)
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


def write_losses(ax: Axes, lines: QuadContourSet | None, scale: Scale) -> None:
    """Writes the losses onto the lines that are long enough, those that the colour bar names first.

    A loss that the border of the axes would cut is left out, and its line is whole there.
    """
    if lines is None:
        return
    ax.apply_aspect()
    points = 72 / ax.figure.dpi
    roomy = []
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        steps = [np.diff(ax.transData.transform(segment), axis=0) for segment in segments if len(segment)]
        if max((np.hypot(*step.T).sum() * points for step in steps), default=0.0) > _LABELLED:
            roomy.append(level)
    named = [level for level in roomy if level in scale.ticks] or roomy[::2]
    tried = list(ax.clabel(lines, named, fmt=number, inline=False, fontsize=7))
    whole = [text.get_position() for text in tried if _is_inside(text, ax)]
    places = {} if len(whole) == len(tried) else {"manual": whole}
    for _ in tried:
        lines.pop_label()
    ax.clabel(lines, named, fmt=number, inline=True, inline_spacing=1, fontsize=7, **places)


def _is_inside(text: Text, ax: Axes) -> bool:
    box, frame = text.get_window_extent(), ax.get_window_extent()
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)


def axis_labels(surface: Surface) -> tuple[str, str]:
    """What the directions of a surface are, as its plane says; a line names only the first."""
    plane = surface.meta.get("plane")
    labels = plane.get("labels") if isinstance(plane, Mapping) else None
    given = [str(label) for label in labels or ()]
    first, second = (*given, *UNNAMED[len(given) :])
    return first, second


def quantity(surfaces: Sequence[Surface]) -> str:
    """The name of the loss, if the surfaces agree on it."""
    names = {str(surface.meta.get("loss", "loss")) for surface in surfaces}
    return names.pop() if len(names) == 1 else "loss"


def _mark_clipped(
    ax: Axes,
    surface: Surface,
    shown: "np.ma.MaskedArray[tuple[int, int], np.dtype[np.float64]]",
    scale: Scale,
) -> None:
    """Dots where the loss lies beyond the levels: the colour there is that of the end, not of the loss."""
    low, high = scale.levels[0], scale.levels[-1]
    beyond = {"min": [(-np.inf, low)], "max": [(high, np.inf)], "neither": []}
    ends = beyond["min"] + beyond["max"] if scale.extend == "both" else beyond[scale.extend]
    for limits in ends:
        if ((shown > limits[0]) & (shown < limits[1])).any():
            dotted = ax.contourf(
                surface.x, surface.y, shown, levels=limits, colors="none", hatches=["...."], zorder=1.5
            )
            dotted.set(edgecolor="0.6", linewidth=0)


def _level_lines(
    ax: Axes,
    surface: Surface,
    shown: "np.ma.MaskedArray[tuple[int, int], np.dtype[np.float64]]",
    scale: Scale,
    *,
    filled: bool,
) -> QuadContourSet | None:
    low, high = float(shown.min()), float(shown.max())
    crossed = [level for level in scale.levels if low < level < high]
    if not crossed:
        return None
    if filled:
        return ax.contour(
            surface.x,
            surface.y,
            shown,
            levels=crossed,
            colors=_ink(crossed, scale),
            linewidths=0.4,
            linestyles="solid",
        )
    return ax.contour(
        surface.x,
        surface.y,
        shown,
        levels=crossed,
        norm=scale.norm,
        cmap=scale.colours,
        linewidths=0.8,
        linestyles="solid",
    )


def _ink(levels: Sequence[float], scale: Scale) -> list[str]:
    """White on dark bands, black on light ones."""
    rgb = ScalarMappable(scale.norm, scale.colours).to_rgba(np.array(levels))[:, :3]
    return ["white" if lightness < 0.5 else "black" for lightness in rgb @ (0.299, 0.587, 0.114)]
