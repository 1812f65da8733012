"""Quantile–quantile plots, which compare numbers with the normal distribution."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from landscape.errors import UsageError
from landscape.plotting.page import axes_or_page
from landscape.tables.escaping import for_mathtext

_QUARTILE = 0.6745
"""The upper quartile of the standard normal distribution."""


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

    Normal numbers lie on the line. Numbers above it at both ends have a long tail of large values.

    Args:
        theoretical: Quantiles of the standard normal distribution, ``(n,)``, increasing.
        ordered: The sorted numbers, ``(n,)``.
        ax: The axes to draw on; by default those of a new figure of one column.
        label: Label in a legend.
        colour: Colour of the points.
        marker: Marker of the points.
        quantity: Name of the numbers.

    Reference:
        Jiang, Yang, Zhang and Kwok 2023, arXiv 2304.14647, Fig. 2(b).
    """
    normal, numbers = np.asarray(theoretical, dtype=np.float64), np.asarray(ordered, dtype=np.float64)
    if normal.shape != numbers.shape or normal.ndim != 1 or normal.size < 2:
        raise UsageError(
            f"{normal.shape} normal quantiles and {numbers.shape} numbers were given; give two or more of each"
        )
    lower, upper = np.interp([-_QUARTILE, _QUARTILE], normal, numbers)
    slope = (upper - lower) / (2 * _QUARTILE)
    ends = np.array([normal[0], normal[-1]])
    with axes_or_page(ax) as ax:
        ax.plot(ends, (upper + lower) / 2 + slope * ends, color=colour, linewidth=0.7, zorder=1)
        hollow: dict[str, Any] = {"markersize": 2.2, "markeredgewidth": 0.5, "fillstyle": "none"}
        # matplotlib leaves labels that begin with an underscore out of legends.
        text = for_mathtext(label or "_numbers")
        ax.plot(normal, numbers, marker, color=colour, label=text, zorder=2, **hollow)
        ax.set(xlabel="normal quantile", ylabel=for_mathtext(quantity))
    return ax
