"""A quantile–quantile plot: whether numbers are spread as the normal distribution would spread them."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from landscape.errors import UsageError
from landscape.plotting.page import page, settle
from landscape.plotting.style import paper
from landscape.tables.escaping import for_mathtext


def quantile_plot(
    theoretical: ArrayLike,
    ordered: ArrayLike,
    *,
    ax: Axes | None = None,
    label: str = "",
    colour: str = "#004488",
    marker: str = "o",
    quantity: str = "squared gradient norm",
) -> Axes:
    """Draws ordered numbers over normal quantiles, and the line through their quartiles.

    On the line, the numbers are normal; above it at both ends, they have a long tail of large values.

    Args:
        theoretical: Quantiles of the standard normal distribution, ``(n,)``, increasing.
        ordered: The numbers, sorted, ``(n,)``.
        ax: Where; by default in a figure of its own, of one column.
        label: In a legend.
        colour: Of the points.
        marker: Of the points.
        quantity: What the numbers are.

    Reference:
        Jiang, Yang, Zhang and Kwok 2023, arXiv 2304.14647, Fig. 2(b).
    """
    normal, seen = np.asarray(theoretical, dtype=np.float64), np.asarray(ordered, dtype=np.float64)
    if normal.shape != seen.shape or normal.ndim != 1 or normal.size < 2:
        raise UsageError(
            f"{normal.shape} normal quantiles and {seen.shape} numbers were given; give two or more of each"
        )
    if ax is None:
        with paper():
            figure, (own,) = page(1, venue="icml", width="column")
            quantile_plot(normal, seen, ax=own, label=label, colour=colour, marker=marker, quantity=quantity)
            settle(figure)
            return own
    lower, upper = np.interp([-0.6745, 0.6745], normal, seen)
    slope = (upper - lower) / (2 * 0.6745)
    ends = np.array([normal[0], normal[-1]])
    ax.plot(ends, (upper + lower) / 2 + slope * ends, color=colour, linewidth=0.7, zorder=1)
    ax.plot(
        normal,
        seen,
        marker,
        color=colour,
        markersize=2.2,
        markeredgewidth=0.5,
        fillstyle="none",
        label=for_mathtext(label or "_numbers"),
        zorder=2,
    )
    ax.set(xlabel="normal quantile", ylabel=for_mathtext(quantity))
    return ax
