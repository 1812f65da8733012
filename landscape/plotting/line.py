"""A slice along one direction: the loss, on train and test, with the accuracy on a twin axis."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from landscape.errors import UsageError
from landscape.plotting.bands import MISSING
from landscape.plotting.page import legend_above, log_axis, page, settle, spread_widely
from landscape.plotting.series import dashes, split_keys
from landscape.plotting.style import paper
from landscape.tables.escaping import for_mathtext

LOSS, ACCURACY = "#004488", "#BB5566"
"""The colours of the two quantities, and of their axes."""


def line(
    x: ArrayLike,
    losses: Mapping[str, ArrayLike],
    *,
    accuracies: Mapping[str, ArrayLike] | None = None,
    ax: Axes | None = None,
    label: str = "direction",
    quantity: str = "loss",
) -> Axes:
    """Draws losses along a line, solid on train and dashed on test, accuracies on an axis to the right.

    Places where a loss is not finite are hatched from neighbour to neighbour. The centre, x = 0, is marked where
    it is on the line.

    Args:
        x: Coordinates, ``(n,)``, increasing.
        losses: By split, each ``(n,)``.
        accuracies: By split, each ``(n,)``, as fractions; drawn in per cent.
        ax: Where; by default in a figure of its own, of one column.
        label: What the direction is.
        quantity: What the loss is called.

    Returns:
        The axes of the losses.

    Raises:
        UsageError: Nothing to draw, or numbers that do not fit the coordinates.
    """
    along = np.asarray(x, dtype=np.float64)
    drawn = {split: _fitting(split, values, along) for split, values in losses.items()}
    shares = {split: _fitting(split, values, along) for split, values in (accuracies or {}).items()}
    if not drawn:
        raise UsageError("a line needs the losses of one split at least, as {'train': values}")
    if ax is None:
        with paper():
            figure, (own,) = page(1, venue="icml", width="column")
            line(along, drawn, accuracies=shares, ax=own, label=label, quantity=quantity)
            legend_above(figure, split_keys(drawn))
            settle(figure)
            return own
    for split, values in drawn.items():
        shown = np.where(np.isfinite(values), values, np.nan)
        ax.plot(along, shown, color=LOSS, linestyle=dashes(split), label=for_mathtext(f"loss, {split}"))
        _hatch(ax, along, values)
    if spread_widely(np.concatenate(list(drawn.values()))):
        log_axis(ax.yaxis, np.concatenate(list(drawn.values())))
    ax.set(xlabel=for_mathtext(label), ylabel=for_mathtext(quantity), xlim=(along[0], along[-1]))
    if along[0] <= 0 <= along[-1]:
        ax.axvline(0, color="0.6", linewidth=0.5, zorder=0.5)
    if shares:
        _accuracies(ax, along, shares)
    return ax


def _accuracies(ax: Axes, along: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]]) -> None:
    right = ax.twinx()
    for split, values in shares.items():
        right.plot(
            along,
            100 * values,
            color=ACCURACY,
            linestyle=dashes(split),
            label=for_mathtext(f"accuracy, {split}"),
        )
    right.set_ylabel("accuracy (%)", color=ACCURACY)
    right.set_ylim(-2, 102)
    right.tick_params(axis="y", colors=ACCURACY)
    ax.yaxis.label.set_color(LOSS)
    ax.tick_params(axis="y", which="both", colors=LOSS)


def _fitting(split: str, values: ArrayLike, along: NDArray[np.float64]) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != along.shape or along.ndim != 1:
        raise UsageError(f"{split} has shape {numbers.shape} and the coordinates {along.shape}; give as many")
    return numbers


def _hatch(ax: Axes, along: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Hatches from the last finite neighbour to the next one."""
    missing = ~np.isfinite(values)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(int)))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        left, right = along[max(first - 1, 0)], along[min(after, along.size - 1)]
        # A lone coordinate at the end has no neighbour to be hatched up to.
        ax.axvspan(left, right, zorder=0, label="not finite", **MISSING)
