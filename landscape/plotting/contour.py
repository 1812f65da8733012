"""Contours of surfaces: bands of colour with labelled lines, one surface on axes or several on one scale."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.plotting.caption import axis_labels, quantity
from landscape.plotting.overlay import MISSING, draw_landmarks
from landscape.plotting.page import fit_height, grid_of, page
from landscape.plotting.refine import refined
from landscape.plotting.scale import Scale, number, shared_scale
from landscape.plotting.style import Width, chosen_look, paper
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

OWN_SCALES = "Each panel has its own colour scale."
"""Written on a figure whose panels cannot be compared by colour."""

_LABELLED = 90.0  # points; a shorter line has no room for its label
_LARGEST_PANEL = 3.0  # inches
_SMALL_PANEL = 1.8

Grid = NDArray[np.float64]
Losses = np.ma.MaskedArray[tuple[int, int], np.dtype[np.float64]]


def contour(
    surface: Surface,
    *,
    ax: Axes | None = None,
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
    filled: bool = True,
) -> Axes:
    """Draws a surface as filled contours with labelled lines, or as lines only.

    Points whose loss is not finite or was not computed are left out and hatched. Between computed points the loss is
    interpolated without new extrema (:func:`landscape.plotting.refine.refined`). The centre is marked if the grid
    contains it. Losses beyond the levels have the colour of the nearest level; they are dotted, and the colour bar
    ends in an arrow.

    Args:
        surface: The surface.
        ax: The axes to draw on; by default those of a new figure of one column with a colour bar.
        levels: Losses of the lines; by default about ten round numbers, log-spaced if losses are positive and spread.
        norm: Map from loss to colour; by default logarithmic if losses are positive and spread.
        filled: Whether to fill bands with colour; otherwise, lines have the colours of their levels.

    Returns:
        The axes.
    """
    if ax is None:
        return panels([surface], levels=levels, norm=norm, filled=filled).axes[0]
    scale = shared_scale([surface], levels=levels, norm=norm)
    lines = _draw_bands(surface, ax, scale, filled=filled)
    draw_landmarks(surface, ax)
    _name_axes(ax, axis_labels(surface))
    write_losses(ax, lines, scale)
    return ax


def panels(
    surfaces: Sequence[Surface],
    titles: Sequence[str] = (),
    *,
    venue: str = "icml",
    width: Width = "column",
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
    filled: bool = True,
    scales: Sequence[Scale] = (),
) -> Figure:
    """Draws surfaces beside each other, on one colour scale with one colour bar.

    Args:
        surfaces: The surfaces, at least one.
        titles: A title for each, or none.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``; the figure is exactly as wide.
        levels: Losses of the lines, in all panels.
        norm: Map from loss to colour, in all panels.
        filled: Whether to fill bands with colour; otherwise, lines have the colours of their levels.
        scales: A scale for each panel, instead of levels and norm; if they differ, each panel has a colour bar of its
            own, and the figure says so.

    Raises:
        UsageError: There is no surface, or the number of titles differs; the venue is unknown.
    """
    with paper():
        figure, axes = page(len(surfaces), venue=venue, width=width, titles=titles, layout="compressed")
        scales = scales or [shared_scale(surfaces, levels=levels, norm=norm)] * len(surfaces)
        lines = [_draw_bands(*each, filled=filled) for each in zip(surfaces, axes, scales, strict=True)]
        rows, columns = grid_of(axes)
        side = float(figure.get_size_inches()[0]) / columns
        names = [axis_labels(surface) for surface in surfaces]
        for surface, ax in zip(surfaces, axes, strict=True):
            draw_landmarks(surface, ax)
            ax.locator_params(nbins=4 if side > _SMALL_PANEL else 2)
        # In a chosen size, the panels may leave room at the edges, where names of the whole figure would be far away.
        if len(names) > 1 and len(set(names)) == 1 and not chosen_look().size:
            figure.supxlabel(for_mathtext(names[0][0]))
            figure.supylabel(for_mathtext(names[0][1]))
        else:
            for ax, labels in zip(axes, names, strict=True):
                _name_axes(ax, labels)
        if all(scale is scales[0] for scale in scales):
            _colour_bar(figure, axes, scales[0], quantity(surfaces))
        else:
            for surface, ax, own in zip(surfaces, axes, scales, strict=True):
                _colour_bar(figure, [ax], own, quantity([surface]))
            figure.suptitle(OWN_SCALES, fontsize=7)
        fit_height(figure, rows * min(_LARGEST_PANEL, side))
        for each in zip(axes, lines, scales, strict=True):
            write_losses(*each)
    return figure


def difference(first: Surface, second: Surface) -> Surface:
    """The second loss minus the first, point by point; NaN where one of them is not finite.

    Raises:
        InputError: The surfaces are on different grids.
    """
    if not (np.array_equal(first.x, second.x) and np.array_equal(first.y, second.y)):
        raise InputError(
            f"the surfaces have grids of {first.loss.shape[::-1]} and {second.loss.shape[::-1]} points from "
            f"{first.x[0]:g} and {second.x[0]:g}; a difference needs the same points: sample both in one command"
        )
    with np.errstate(invalid="ignore"):
        loss = second.loss - first.loss
    absent: dict[str, Any] = dict.fromkeys(("accuracy", "test_loss", "test_accuracy", "gradient_norm"))
    return dataclasses.replace(
        second,
        loss=np.where(np.isfinite(loss), loss, np.nan),
        computed=first.computed & second.computed,
        meta={**second.meta, "loss": f"difference of {quantity([first])}"},
        **absent,
    )


def write_losses(ax: Axes, lines: QuadContourSet | None, scale: Scale) -> None:
    """Writes losses onto the lines that are long enough, preferring those of the colour bar.

    A loss that the border of the axes would cut is left out, and its line has no gap.
    """
    if lines is None:
        return
    # Pixels are those of the final picture only after this.
    ax.apply_aspect()
    points = 72 / ax.figure.dpi
    roomy = []
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        steps = [np.diff(ax.transData.transform(segment), axis=0) for segment in segments if len(segment)]
        if max((np.hypot(*step.T).sum() * points for step in steps), default=0.0) > _LABELLED:
            roomy.append(level)
    named = [level for level in roomy if level in scale.ticks] or roomy[::2]
    # matplotlib chooses the places: its labels are tried first, to see which of them the border leaves uncut.
    tried = list(ax.clabel(lines, named, fmt=number, inline=False, fontsize=7))
    frame = ax.get_window_extent()
    corners = [text.get_window_extent().get_points() for text in tried]
    inside = [all(frame.contains(x, y) for x, y in points) for points in corners]
    uncut = [text.get_position() for text, fits in zip(tried, inside, strict=True) if fits]
    places: dict[str, Any] = {} if all(inside) else {"manual": uncut}
    for _ in tried:
        lines.pop_label()
    ax.clabel(lines, named, fmt=number, inline=True, inline_spacing=1, fontsize=7, **places)


def _draw_bands(surface: Surface, ax: Axes, scale: Scale, *, filled: bool) -> QuadContourSet | None:
    """Everything but the losses on the lines, whose places depend on the final size of the axes."""
    x, y, fine = refined(surface)
    losses: Losses = np.ma.masked_invalid(fine)
    has_holes = bool(losses.mask.any())
    if has_holes:
        # The hatching lies below the contours and shows where they leave a hole.
        frame = Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], zorder=0, label="not finite", **MISSING)
        ax.add_patch(frame)
    if isinstance(scale.norm, LogNorm):
        # A loss of 0 is below every level, not missing.
        losses = np.ma.maximum(losses, np.finfo(np.float64).tiny)
    lines = None
    if losses.count():
        if filled:
            colours: dict[str, Any] = {"norm": scale.norm, "cmap": scale.colours, "extend": scale.extend}
            bands = ax.contourf(x, y, losses, levels=scale.levels, zorder=1, **colours)
            # Some viewers show seams between the bands of a vector file.
            bands.set_rasterized(True)
        elif has_holes:
            everything = [float(losses.min()) - 1, float(losses.max()) + 1]
            ax.contourf(x, y, losses, levels=everything, colors="white", zorder=1)
        _mark_clipped(ax, x, y, losses, scale)
        lines = _level_lines(ax, x, y, losses, scale, filled=filled)
    if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
        edge: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.6}
        ax.plot(0, 0, "o", color="white", markersize=3, zorder=4, **edge)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if np.isclose(x[-1] - x[0], y[-1] - y[0]):
        ax.set_aspect("equal")
    else:
        ax.set_box_aspect(1)
    return lines


def _mark_clipped(ax: Axes, x: Grid, y: Grid, losses: Losses, scale: Scale) -> None:
    """Dots where the loss is beyond the levels, because the colour there is that of the last level."""
    low, high = scale.levels[0], scale.levels[-1]
    limits = [[-np.inf, low]] if scale.extend in ("min", "both") else []
    limits += [[high, np.inf]] if scale.extend in ("max", "both") else []
    for below, above in limits:
        if ((losses > below) & (losses < above)).any():
            style: dict[str, Any] = {"colors": "none", "hatches": ["...."]}
            dotted = ax.contourf(x, y, losses, levels=(below, above), zorder=1.5, **style)
            dotted.set(edgecolor="0.6", linewidth=0)


def _level_lines(
    ax: Axes, x: Grid, y: Grid, losses: Losses, scale: Scale, *, filled: bool
) -> QuadContourSet | None:
    low, high = float(losses.min()), float(losses.max())
    crossed = [level for level in scale.levels if low < level < high]
    if not crossed:
        return None
    style: dict[str, Any] = {"norm": scale.norm, "cmap": scale.colours, "linewidths": 0.8}
    if filled:
        # White on dark bands, black on light ones, by the lightness weights of ITU-R BT.601.
        rgb = ScalarMappable(scale.norm, scale.colours).to_rgba(np.array(crossed))[:, :3]
        dark = rgb @ (0.299, 0.587, 0.114) < 0.5
        style = {"colors": ["white" if each else "black" for each in dark], "linewidths": 0.4}
    # Negative levels would be dashed by default.
    return ax.contour(x, y, losses, levels=crossed, linestyles="solid", **style)


def _name_axes(ax: Axes, labels: tuple[str, str]) -> None:
    ax.set(xlabel=for_mathtext(labels[0]), ylabel=for_mathtext(labels[1]))


def _colour_bar(figure: Figure, axes: Sequence[Axes], scale: Scale, label: str) -> None:
    """One colour bar for the axes; none if nothing was drawn."""
    drawn = [artist for ax in axes for artist in ax.collections if isinstance(artist, QuadContourSet)]
    if not drawn:
        return
    # The dots of clipped losses are filled too, but only the bands are rasterized.
    bands = next((artist for artist in drawn if artist.filled and artist.get_rasterized()), None)
    mappable = bands or ScalarMappable(scale.norm, scale.colours)
    bar = figure.colorbar(mappable, ax=list(axes), aspect=30, pad=0.02, label=for_mathtext(label))
    bar.set_ticks(scale.ticks, labels=[number(tick) for tick in scale.ticks])
    bar.ax.minorticks_off()
