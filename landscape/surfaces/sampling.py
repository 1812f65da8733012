"""The loss on the points of a plane: right at every point, coarse before fine, and never computed twice."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.surfaces.journal import Journal
from landscape.surfaces.plane import Plane, build_plane, fingerprint
from landscape.surfaces.surface import SCHEMA, Surface


def sample_surface(
    objective: Objective,
    plane: str | Plane = "random",
    *,
    points: int | tuple[int, int] = 51,
    span: float | tuple[float, float] = 1.0,
    journal: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Surface:
    """L(θ + a·x + b·y) for a and b on a grid around the objective's point θ.

    Every point is an offset from the weights of the centre, so that no error adds up, and the grid has θ
    itself as a point if its numbers of points are odd. Only the free parameters move: buffers, batch-norm
    statistics among them, are those of the checkpoint at every point.

    Args:
        objective: The network, its data and θ.
        plane: A name in ``PLANES`` with its options, or a plane that was built before.
        points: How many along each axis, at least 2, or ``(nx, ny)``.
        span: The grid reaches from ``-span`` to ``span``, or ``(sx, sy)``; in units of the directions.
        journal: Where the points that are done are kept meanwhile. A run that was killed goes on there and
            gives the same bytes. The file stays: delete it when the surface is saved.
        progress: Called as ``progress(done, total)``, first with what the journal held, then after
            each point.

    Returns:
        The surface. A loss that is infinite or NaN is kept as it is.

    Raises:
        UsageError: Less than two points, a span that is not positive, an unknown plane.
        InputError: The journal is that of another run.
    """
    nx, ny = _pair("points", points)
    sx, sy = _pair("span", span)
    x, y = coordinates(nx, sx), coordinates(ny, sy)
    if not isinstance(plane, Plane):
        plane = build_plane(plane, objective)
    if plane.x.shape != objective.point.shape:
        raise UsageError(
            f"the plane has {plane.x.numel()} dimensions and the objective {objective.dimension}: it was "
            "built for another network or other parameters; build it with build_plane(…, objective)"
        )
    meta = {
        "schema": SCHEMA,
        "plane": plane.describe(),
        "centre": {"sha256": fingerprint(objective.point), "loss": objective.loss},
        "loss": objective.provenance.loss or "loss",
        "provenance": dataclasses.asdict(objective.provenance),
    }
    header = {"x": x.tolist(), "y": y.tolist(), "meta": meta}
    with Journal(None if journal is None else Path(journal), header) as done:
        if progress is not None:
            progress(len(done.values), x.size * y.size)
        for index in coarse_to_fine(x.size, y.size):
            if index in done.values:
                continue
            row, column = divmod(index, x.size)
            # A new tensor each time: the objective knows by identity where its network stands.
            point = torch.add(objective.point, plane.x, alpha=float(x[column]))
            point.add_(plane.y, alpha=float(y[row]))
            done.append(index, objective.evaluate(point))
            if progress is not None:
                progress(len(done.values), x.size * y.size)
        return done.surface()


def coarse_to_fine(nx: int, ny: int) -> list[int]:
    """The flat indices of an ``(ny, nx)`` grid: the centre, then lattices around it, each twice as fine."""
    level = np.minimum(_level(ny)[:, None], _level(nx)[None, :]).reshape(-1)
    return [int(index) for index in np.argsort(-level, kind="stable")]


def _level(count: int) -> NDArray[np.int64]:
    """The largest power of two that divides the distance of an index from the central one."""
    distance = np.abs(np.arange(count) - count // 2)
    return np.where(distance == 0, 1 << 62, distance & -distance)


def _pair(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2:
        raise UsageError(f"{name}={value} has {len(pair)} numbers; give one, or one for each axis")
    return pair


def coordinates(count: float, span: float) -> NDArray[np.float64]:
    """``count`` coordinates from -span to span, symmetric; the middle one of an odd number is 0 exactly."""
    if count != int(count) or count < 2:
        raise UsageError(f"points={count} is not allowed; a grid needs a whole number of 2 or more an axis")
    if not (math.isfinite(span) and span > 0):
        raise UsageError(f"span={span} is not allowed; the grid reaches from -span to span, so span > 0")
    steps = int(count) - 1
    return span * np.arange(-steps, steps + 1, 2, dtype=np.float64) / steps
