"""A finer grid for smooth contour lines, on which the surface has no extremum that the computed grid does not have."""

import itertools

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
    loss, finite = surface.loss, np.isfinite(surface.loss)
    known = np.where(finite, loss, np.nan)
    factor = min(_FINEST, _POINTS // max(loss.shape))
    if factor < 2 or not finite.any():
        return surface.x, surface.y, known
    rows, columns = (np.arange(factor * (n - 1) + 1) for n in loss.shape)
    along, across = (
        np.interp(fine / factor, np.arange(len(places)), places)
        for fine, places in ((rows, surface.y), (columns, surface.x))
    )
    top = float(np.abs(loss[finite]).max()) or 1.0
    # Holes are cells of their own below, so that any finite number may stand in them here.
    plain = np.where(finite, loss, loss[finite].max()) / top
    with np.errstate(all="ignore"):  # slopes between losses of 1e-300 and 1e300
        smooth = PchipInterpolator(surface.y, PchipInterpolator(surface.x, plain, axis=1)(across), axis=0)(
            along
        )
    ends = [(fine // factor, -(-fine // factor)) for fine in (rows, columns)]
    corners = np.stack([known[np.ix_(j, i)] for j, i in itertools.product(*ends)])
    # Rounding may leave the range of the corners; the maximum and the minimum of a NaN are NaN.
    smooth = np.clip(np.nan_to_num(smooth) * top, corners.min(axis=0), corners.max(axis=0))
    smooth[::factor, ::factor] = known
    return across, along, smooth
