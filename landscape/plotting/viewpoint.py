"""The direction from which the valley of a relief is seen: a small search over elevations and azimuths."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

HEIGHT = 0.7
"""Height of the box of a relief, over its width."""

_ELEVATIONS = (25.0, 30.0, 35.0, 40.0, 45.0, 50.0)  # from higher up, heights can hardly be read
# Away from the directions themselves, along which the names of the axes would run into each other; beyond the middle
# between two directions, matplotlib writes heights below their ticks.
_AZIMUTHS = (-60.0, -50.0, 120.0, 130.0, 30.0, 40.0, -150.0, -140.0)
_POINTS = 31  # of the grid on which sight is tested
_LOW = 0.25  # share of the range of heights that counts as the valley
_ENOUGH = 0.8


def viewpoint(heights: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Elevation and azimuth in degrees: the lowest elevation from which four fifths of each valley are seen.

    From a low elevation, heights are seen best, but a rim hides what is behind it. If no elevation is high enough,
    it is the highest one, from where the rim is lowest.

    Args:
        heights: Heights in ``[0, 1]`` of each surface on its grid, ``(m, n)``; NaN in holes, which hide nothing.
    """
    needed = [_needed(height) for height in heights if np.isfinite(height).any()]
    for elevation in _ELEVATIONS:
        # The surface with the worst view decides.
        seen = np.min(
            [np.ones(len(_AZIMUTHS)), *(np.mean(each <= elevation, axis=1) for each in needed)], axis=0
        )
        if seen.max() >= _ENOUGH:
            return elevation, _AZIMUTHS[int(seen.round(2).argmax())]
    rim = np.max([each.mean(axis=1) for each in needed], axis=0)
    return _ELEVATIONS[-1], _AZIMUTHS[int(rim.round().argmin())]


def _needed(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """The elevation in degrees that each point of the valley needs to be seen, ``(azimuths, points)``."""
    height = height[
        np.ix_(*(np.unique(np.linspace(0, n - 1, _POINTS).round().astype(int)) for n in height.shape))
    ]
    low, top = np.nanmin(height), np.nanmax(height)
    places = np.argwhere(height <= low + _LOW * (top - low)).T[..., None]
    plain = np.where(np.isnan(height), -1.0, height) * HEIGHT
    distance = np.arange(1, int(_POINTS * np.sqrt(2))) / _POINTS
    slopes = []
    for angle in np.radians(_AZIMUTHS):
        row, column = (
            np.array([np.sin(angle), np.cos(angle)])[:, None]
            * distance
            * (np.array(plain.shape) - 1)[:, None]
        )
        there = map_coordinates(plain, [places[0] + row, places[1] + column], order=1, cval=-1e9)
        slopes.append(((there - plain[places[0], places[1]]) / distance).max(axis=1))
    return np.degrees(np.arctan(slopes))
