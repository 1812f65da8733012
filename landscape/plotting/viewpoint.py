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
_LOW = 0.25  # of the range of heights; what is lower is the valley
_ENOUGH = 0.8


def viewpoint(heights: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Elevation and azimuth in degrees: the lowest elevation from which four fifths of each valley are seen.

    From a low elevation, heights are seen best, but a rim hides what is behind it. If no elevation is high enough,
    it is the highest one, from where the rim is lowest.

    Args:
        heights: Heights in ``[0, 1]`` of each surface on its grid, ``(m, n)``; NaN in holes, which hide nothing.
    """
    coarse = [_coarse(height) for height in heights]
    # The elevation in degrees that each point of each valley needs, for each azimuth.
    needed = [
        np.degrees(np.arctan([_horizon(height, azimuth)[_valley(height)] for azimuth in _AZIMUTHS]))
        for height in coarse
    ]
    needed = [each for each in needed if each.size]
    for elevation in _ELEVATIONS:
        seen = [np.mean(each <= elevation, axis=1) for each in needed]
        # Of the surface that is seen worst.
        lowest = np.min([np.ones(len(_AZIMUTHS)), *seen], axis=0).round(2)
        if lowest.max() >= _ENOUGH:
            return elevation, _AZIMUTHS[int(lowest.argmax())]
    highest = np.max([each.mean(axis=1) for each in needed], axis=0)
    return _ELEVATIONS[-1], _AZIMUTHS[int(highest.round().argmin())]


def _coarse(height: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (np.unique(np.linspace(0, n - 1, _POINTS).round().astype(int)) for n in height.shape)
    return np.asarray(height[np.ix_(rows, columns)])


def _valley(height: NDArray[np.float64]) -> NDArray[np.bool_]:
    finite = height[np.isfinite(height)]
    low = finite.min() + _LOW * np.ptp(finite) if finite.size else 0.0
    return np.asarray(height <= low)


def _horizon(height: NDArray[np.float64], azimuth: float) -> NDArray[np.float64]:
    """The steepest slope from each point up to what lies between it and the viewer."""
    plain = np.where(np.isnan(height), -1.0, height) * HEIGHT
    row, column = np.indices(plain.shape)
    rows, columns = (side - 1 for side in plain.shape)
    angle = np.radians(azimuth)
    highest = np.full(plain.shape, -np.inf)
    for distance in np.arange(1 / _POINTS, np.sqrt(2), 1 / _POINTS):
        places = (row + distance * rows * np.sin(angle), column + distance * columns * np.cos(angle))
        there = map_coordinates(plain, places, order=1, cval=-np.inf)
        highest = np.maximum(highest, np.nan_to_num((there - plain) / distance, nan=-np.inf, neginf=-np.inf))
    return highest
