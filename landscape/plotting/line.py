"""Slices along one direction: losses on train and test, with accuracies on a second axis."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from landscape.errors import UsageError
from landscape.plotting.caption import axis_labels, quantity
from landscape.plotting.overlay import MISSING, beside
from landscape.plotting.page import axes_or_page, is_log, legend_above, log_axis, page, settle
from landscape.plotting.scale import Limits
from landscape.plotting.series import dashes, split_keys
from landscape.plotting.style import Width, paper
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

_LOSS, _ACCURACY = "#5D3A9B", "#E66100"  # no optimizer has them


def line(
    x: ArrayLike,
    losses: Mapping[str, ArrayLike],
    *,
    accuracies: Mapping[str, ArrayLike] | None = None,
    ax: Axes | None = None,
    label: str = "direction",
    quantity: str = "loss",
) -> Axes:
    """Draws losses along a line, solid on train and dashed on test, with accuracies on an axis to the right.

    Places where a loss is not finite are hatched between their neighbours. The centre, x = 0, is marked if the line
    contains it.

    Args:
        x: Coordinates, ``(n,)``, increasing.
        losses: Losses by split, each ``(n,)``.
        accuracies: Accuracies by split, each ``(n,)``, as fractions; they are drawn as percentages.
        ax: The axes to draw on; by default those of a new figure of one column.
        label: Name of the direction.
        quantity: Name of the loss.

    Returns:
        The axes of the losses.

    Raises:
        UsageError: There is nothing to draw, or shapes differ.
    """
    along = np.asarray(x, dtype=np.float64)
    curves = {split: _fitting(split, values, along) for split, values in losses.items()}
    shares = {split: _fitting(split, values, along) for split, values in (accuracies or {}).items()}
    if not curves:
        raise UsageError("a line needs the losses of one split at least, as {'train': values}")
    with axes_or_page(ax, splits=curves) as ax:
        for split, values in curves.items():
            finite = np.where(np.isfinite(values), values, np.nan)
            ax.plot(along, finite, color=_LOSS, linestyle=dashes(split), label=for_mathtext(f"loss, {split}"))
            _hatch(ax, along, values)
        everything = np.concatenate(list(curves.values()))
        if is_log(everything):
            log_axis(ax.yaxis, everything)
        ax.set(xlabel=for_mathtext(label), ylabel=for_mathtext(quantity), xlim=(along[0], along[-1]))
        if along[0] <= 0 <= along[-1]:
            ax.axvline(0, color="0.6", linewidth=0.5, zorder=0.5)
        if shares:
            _draw_accuracies(ax, along, shares)
    return ax


def line_panels(
    surfaces: Sequence[Surface],
    titles: Sequence[str] = (),
    *,
    venue: str = "icml",
    width: Width = "column",
    limits: Limits = (None, None),
) -> Figure:
    """One panel for each line, all on one scale of losses.

    Args:
        surfaces: Surfaces that are lines.
        titles: A title for each, or none.
        venue: A name in :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``.
        limits: The lowest and the highest loss of the axes; by default those of the lines.

    Raises:
        UsageError: There is no line, or the number of titles differs; the venue is unknown.
    """
    with paper():
        figure, axes = page(len(surfaces), venue=venue, width=width, titles=titles)
        splits: list[str] = []
        grids = [_by_split(surface, "loss") for surface in surfaces] + [_losses_before(s) for s in surfaces]
        every = np.concatenate([grid for each in grids for grid in each.values()])
        for surface, ax in zip(surfaces, axes, strict=True):
            losses, accuracies = _by_split(surface, "loss"), _by_split(surface, "accuracy")
            splits += losses
            label, name = axis_labels(surface)[0], quantity([surface])
            line(surface.x, losses, accuracies=accuracies, ax=ax, label=label, quantity=name)
            _draw_before(surface, ax)
            _name_checkpoints(surface, ax)
        if is_log(every):  # also in a panel that alone would not be, before its limits are read
            for ax in axes:
                log_axis(ax.yaxis, every)
        low = min(ax.get_ylim()[0] for ax in axes) if limits[0] is None else limits[0]
        high = max(ax.get_ylim()[1] for ax in axes) if limits[1] is None else limits[1]
        for ax in axes:
            if is_log(every):
                log_axis(ax.yaxis, np.array([low, high]))
            ax.set_ylim(low, high)
        legend_above(figure, split_keys(splits))
        return settle(figure)


def _fitting(split: str, values: ArrayLike, along: NDArray[np.float64]) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != along.shape or along.ndim != 1:
        raise UsageError(f"{split} has shape {numbers.shape} and the coordinates {along.shape}; give as many")
    return numbers


def _draw_accuracies(ax: Axes, along: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]]) -> None:
    right = ax.twinx()
    for split, values in shares.items():
        label = for_mathtext(f"accuracy, {split}")
        right.plot(along, 100 * values, color=_ACCURACY, linestyle=dashes(split), label=label)
    right.set_ylabel("accuracy (%)", color=_ACCURACY)
    right.set_ylim(-2, 102)
    right.tick_params(axis="y", colors=_ACCURACY)
    ax.yaxis.label.set_color(_LOSS)
    ax.tick_params(axis="y", which="both", colors=_LOSS)


def _draw_before(surface: Surface, ax: Axes) -> None:
    """Draws the losses before the checkpoints were aligned, where they were."""
    for split, losses in _losses_before(surface).items():
        finite = np.where(np.isfinite(losses), losses, np.nan)
        ax.plot(surface.x, finite, color=_LOSS, alpha=0.5, linewidth=0.5, linestyle=dashes(split), zorder=1.5)


def _losses_before(surface: Surface) -> dict[str, NDArray[np.float64]]:
    """By split; empty if nothing was aligned."""
    aligned = surface.meta.get("aligned")
    before = aligned.get("before", {}) if isinstance(aligned, Mapping) else {}
    pairs = zip(_by_split(surface, "loss"), ("loss", "test_loss"), strict=False)
    every = {split: np.array(before.get(name, ()), np.float64) for split, name in pairs}
    return {split: losses for split, losses in every.items() if losses.shape == surface.x.shape}


def _hatch(ax: Axes, along: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Hatches from the last finite neighbour to the next one."""
    missing = ~np.isfinite(values)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(int)))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        left, right = along[max(first - 1, 0)], along[min(after, along.size - 1)]
        ax.axvspan(left, right, zorder=0, label="not finite", **MISSING)


def _by_split(surface: Surface, name: str) -> dict[str, NDArray[np.float64]]:
    origin = surface.meta.get("provenance")
    own = str(origin.get("split") or "train") if isinstance(origin, Mapping) else "train"
    values = {own: None, "test": getattr(surface, f"test_{name}")}
    values[own] = getattr(surface, name)  # last, because a surface of the test split has no other losses
    return {split: grid[0] for split, grid in values.items() if grid is not None}


def _name_checkpoints(surface: Surface, ax: Axes) -> None:
    """An upright line at each checkpoint on the line, with its name above the axes."""
    if surface.markers is None:
        return
    for (place,), text in zip(surface.markers.coordinates, surface.markers.labels, strict=True):
        ax.axvline(float(place), color="0.35", linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=0.6)
        corner: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "xytext": (0, 2), "va": "bottom"}
        ax.annotate(for_mathtext(text), (float(place), 1.0), **corner, **beside(ax))
