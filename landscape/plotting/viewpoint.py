"""The direction from which the valley of a relief is seen: a small search over elevations and azimuths."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

HEIGHT = 0.7
"""Height of the box of a relief, over its width."""

_ELEVATIONS = (25.0, 30.0, 35.0, 40.0, 45.0, 50.0)  # from higher up, heights can hardly be read
# Away from the directions themselves, along which the names of the axes would run into each other.
_AZIMUTHS = tuple(
    corner + turn for corner in (-60.0, 120.0, 30.0, -150.0) for turn in (0.0, 10.0, 20.0, 30.0)
)
_POINTS = 31  # of the grid on which sight is tested
_LOW = 0.25  # of the range of heights; what is lower is the valley
_ENOUGH = 0.8


def viewpoint(heights: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Elevation and azimuth in degrees: the lowest elevation from which four fifths of each valley are seen.

    From a low elevation, heights are seen best, but a rim hides what is behind it. If no elevation is high enough,
    it is the direction from which most is seen.

    Args:
        heights: Heights in ``[0, 1]`` of each surface on its grid, ``(m, n)``; NaN in holes, which hide nothing.
    """
    slopes = np.stack([[_horizon(_coarse(height), azimuth) for azimuth in _AZIMUTHS] for height in heights])
    valleys = np.stack([_valley(_coarse(height)) for height in heights])[:, None]
    best = (-1.0, 0.0, 0.0)
    for elevation in _ELEVATIONS:
        visible = slopes <= np.tan(np.radians(elevation))
        seen = (visible & valleys).sum(axis=(2, 3)) / valleys.sum(axis=(2, 3)).clip(1)
        lowest = seen.min(axis=0)  # of the surface that is seen worst
        index = int(lowest.round(2).argmax())
        if lowest[index] > best[0] + 0.01:
            best = (float(lowest[index]), elevation, _AZIMUTHS[index])
        if best[0] >= _ENOUGH:
            break
    return best[1:]


def _coarse(height: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (np.linspace(0, size - 1, _POINTS).round().astype(int) for size in height.shape)
    return np.asarray(height[np.ix_(rows, columns)])


def _valley(height: NDArray[np.float64]) -> NDArray[np.bool_]:
    finite = height[np.isfinite(height)]
    low = finite.min() + _LOW * np.ptp(finite) if finite.size else 0.0
    return np.asarray(height <= low)


def _horizon(height: NDArray[np.float64], azimuth: float) -> NDArray[np.float64]:
    """The steepest slope from each point up to what lies between it and the viewer."""
    plain = np.where(np.isnan(height), -1.0, height) * HEIGHT
    row, column = np.indices(plain.shape)
    angle = np.radians(azimuth)
    highest = np.full(plain.shape, -np.inf)
    for step in range(1, int(_POINTS * np.sqrt(2))):
        places = (row + step * np.sin(angle), column + step * np.cos(angle))
        there = map_coordinates(plain, places, order=1, cval=-np.inf, mode="constant")
        there[~np.isfinite(there)] = -np.inf
        highest = np.maximum(highest, (there - plain) / (step / (_POINTS - 1)))
    return highest
