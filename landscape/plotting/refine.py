"""A finer grid for smooth contour lines, on which the surface has no extremum that the computed grid does not have."""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from landscape.records.surface import Surface

_POINTS = 160  # enough that straight pieces of a contour line cannot be seen at the width of a column
_FINEST = 8

Grid = NDArray[np.float64]


def refined(surface: Surface) -> tuple[Grid, Grid, Grid]:
    """Coordinates and losses on a finer grid, by monotone cubic interpolation along each direction.

    Computed losses stay as they are. In a cell of the computed grid, every value lies between those of its corners and
    the surface is monotone along the second direction, so that it has no extremum inside. Cells with a corner that is
    not finite have no values.

    Returns:
        The coordinates, ``(n,)`` and ``(m,)``, and the losses, ``(m, n)``, NaN where there are none.

    Reference:
        Fritsch and Carlson 1980, doi 10.1137/0717021; the derivatives are those of Fritsch and Butland 1984.
    """
    x, y, loss = surface.x, surface.y, surface.loss
    factor = min(_FINEST, _POINTS // max(len(x), len(y)))
    finite = np.isfinite(loss)
    if factor < 2 or not finite.any():
        return x, y, np.where(finite, loss, np.nan)
    across, along = _between(x, factor), _between(y, factor)
    top = float(np.abs(loss[finite]).max()) or 1.0
    # Holes are cells of their own below, so that any finite number may stand in them here.
    plain = np.where(finite, loss, loss[finite].max()) / top
    with np.errstate(all="ignore"):  # slopes between losses of 1e-300 and 1e300
        rows = PchipInterpolator(x, plain, axis=1)(across)
        fine = np.nan_to_num(PchipInterpolator(y, rows, axis=0)(along)) * top
    corners = np.stack(
        [np.where(finite, loss, np.nan)[np.ix_(j, i)] for j in _ends(y, factor) for i in _ends(x, factor)]
    )
    # Rounding may leave the range of the corners; the maximum and the minimum of a NaN are NaN.
    fine = np.clip(fine, corners.min(axis=0), corners.max(axis=0))
    fine[::factor, ::factor] = np.where(finite, loss, np.nan)
    return across, along, fine


def _between(places: Grid, factor: int) -> Grid:
    """The places, with ``factor − 1`` evenly spaced ones between neighbours."""
    return np.interp(np.arange(factor * (len(places) - 1) + 1) / factor, np.arange(len(places)), places)


def _ends(places: Grid, factor: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The indices of the computed places at or before, and at or after, each of the finer ones."""
    fine = np.arange(factor * (len(places) - 1) + 1)
    return fine // factor, -(-fine // factor)
