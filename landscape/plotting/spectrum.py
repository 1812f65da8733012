"""The spectral density of the Hessian as a curve with its band."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from landscape.errors import UsageError
from landscape.plotting.page import axes_or_page, log_axis
from landscape.plotting.series import Dashes
from landscape.tables.escaping import for_mathtext

_DECADES = 7  # further below the peak, there are only the tails of the smoothing kernel


def spectrum(
    eigenvalues: ArrayLike,
    density: ArrayLike,
    error: ArrayLike | None = None,
    *,
    ax: Axes | None = None,
    label: str = "",
    colour: str = "#004488",
    linestyle: Dashes = "solid",
    unit: str = "loss/θ²",
) -> Axes:
    """Draws a spectral density on a logarithmic axis, with a band of two standard errors.

    Args:
        eigenvalues: The grid, ``(n,)``.
        density: The density on the grid, ``(n,)``.
        error: Its standard error over probes, ``(n,)``; ``None`` for no band.
        ax: The axes to draw on; by default those of a new figure of one column.
        label: Label in a legend.
        colour: Colour of the curve.
        linestyle: Its line style.
        unit: Unit of the eigenvalues.

    Reference:
        Ghorbani, Krishnan and Xiao 2019, arXiv 1901.10159, Fig. 1.
    """
    grid, height = np.asarray(eigenvalues, dtype=np.float64), np.asarray(density, dtype=np.float64)
    if grid.shape != height.shape or grid.ndim != 1 or not grid.size:
        raise UsageError(f"the grid has shape {grid.shape} and the density {height.shape}; give as many")
    floor = float(height.max()) * 10.0**-_DECADES
    with axes_or_page(ax) as ax:
        above = np.where(
            height > floor, height, floor / 10
        )  # below the axis, where the curve leaves the picture
        ax.plot(grid, above, color=colour, linestyle=linestyle, label=for_mathtext(label or "_density"))
        if error is not None:
            width = 2 * np.asarray(error, dtype=np.float64)
            low, high = np.maximum(height - width, floor / 10), np.maximum(height + width, floor / 10)
            ax.fill_between(grid, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.axvline(0, color="0.6", linewidth=0.5, zorder=0.5)
        # Limits may only grow, because several densities are drawn on one pair of axes.
        lowest, highest = ax.get_ylim() if ax.get_yscale() == "log" else (floor, 0.0)
        log_axis(ax.yaxis, height[height > floor])
        ax.set_ylim(min(lowest, floor), max(highest, 3 * float(height.max())))
        ax.set(xlabel=for_mathtext(f"eigenvalue of ∇²L ({unit})"), ylabel="density")
    return ax
