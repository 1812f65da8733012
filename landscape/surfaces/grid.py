"""The coordinates at which the loss on a plane is computed, and their order."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landscape.errors import UsageError

if TYPE_CHECKING:  # torch, which `landscape surface --help` does not wait for
    from landscape.surfaces.directions import Directions

Coordinates = NDArray[np.float64]


def grid(
    plane: "Directions",
    points: int | tuple[int, int],
    span: float | tuple[float, float] | None,
    *,
    centre: bool = False,
) -> tuple[Coordinates, Coordinates]:
    """The coordinates along both axes; the second are ``[0.]`` for a line.

    Around a checkpoint the grid reaches from ``-span`` to ``span``, and contains the checkpoint itself if its numbers
    of points are odd. If a plane is made to show several checkpoints, the grid covers its extent, and is moved by up to
    half a step so that it contains the first of them. With ``centre``, a grid without the checkpoint is refused.
    """
    if plane.y is None and isinstance(points, tuple) and points[1] not in (1, points[0]):
        raise UsageError(f"points={points} are for a plane, and this is a line; give one number")
    counts, spans = _pair("points", points), None if span is None else _pair("span", span)
    axes = []
    for axis in range(1 if plane.y is None else 2):
        count = point_count(counts[axis])
        if spans is None and plane.extent is not None:
            axes.append(containing_zero(count, *plane.extent[axis]))
        else:
            axes.append(symmetric(count, 1.0 if spans is None else spans[axis]))
    if centre and not all((axis == 0).any() for axis in axes):
        odd = "x".join(str(len(axis) + (len(axis) + 1) % 2) for axis in axes)
        raise UsageError(
            f"a grid of {' × '.join(str(len(axis)) for axis in axes)} points has none at its centre, the checkpoint; "
            f"take odd numbers: --points {odd}"
        )
    return axes[0], (np.zeros(1) if plane.y is None else axes[1])


def symmetric(count: int, span: float) -> Coordinates:
    """``count`` coordinates from -span to span, symmetric; the middle one of an odd number is exactly 0."""
    if not (math.isfinite(span) and span > 0):
        raise UsageError(f"span={span} is not allowed; the grid reaches from -span to span, so span > 0")
    steps = count - 1
    # Odd and even integers, not linspace, whose middle is off by rounding.
    return span * np.arange(-steps, steps + 1, 2, dtype=np.float64) / steps


def containing_zero(count: int, low: float, high: float) -> Coordinates:
    """``count`` coordinates from about ``low`` ≤ 0 to about ``high`` ≥ 0, with 0 exactly among them."""
    before = round(-low / (high - low) * (count - 1))
    return (high - low) * np.arange(-before, count - before, dtype=np.float64) / (count - 1)


def coarse_to_fine(nx: int, ny: int) -> list[int]:
    """The flat indices of an ``(ny, nx)`` grid: the centre, then lattices around it, each twice as fine."""
    level = np.minimum(_level(ny)[:, None], _level(nx)[None, :]).reshape(-1)
    return [int(index) for index in np.argsort(-level, kind="stable")]


def share(order: list[int], shard: tuple[int, int] | None) -> list[int]:
    """The part ``(i, n)`` of the points, i from 1 to n: every n-th, so that each part has its own preview."""
    if shard is None:
        return order
    number, parts = shard
    if not 1 <= number <= parts:
        raise UsageError(
            f"shard {number}/{parts} is not allowed; of {parts} shards, i/{parts} is 1/{parts} to {parts}/{parts}"
        )
    return order[number - 1 :: parts]


def point_count(count: float) -> int:
    """A number of points along an axis, checked."""
    if count != int(count) or count < 2:
        raise UsageError(f"points={count} is not allowed; a grid needs a whole number of 2 or more an axis")
    return int(count)


def _level(count: int) -> NDArray[np.int64]:
    """The largest power of two that divides the distance of an index from the central one."""
    distance = np.abs(np.arange(count) - count // 2)
    return np.where(distance == 0, 1 << 62, distance & -distance)  # d & -d is the lowest bit of d


def _pair(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2:
        raise UsageError(f"{name}={value} has {len(pair)} numbers; give one, or one for each axis")
    return pair
