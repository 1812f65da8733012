"""Comparison of a surface with the losses of the checkpoints that it goes through.

They differ if something differs between the checkpoints that no direction moves: frozen weights, buffers. Heights
between such checkpoints mean nothing. If batch-norm statistics are recomputed at every point, they are for the
checkpoint's own loss too, by its own network and plain forward passes.
"""

import math
from collections.abc import Callable, Mapping

from landscape.objective import Objective
from landscape.surfaces.directions import located
from landscape.surfaces.plane import Plane, fingerprint

_RELATIVE, _ABSOLUTE = (
    1e-4,
    1e-5,
)  # two ways to sum one loss in float32 stay far below; another network does not
_ON_PLANE = 1e-4  # of the distance from the origin: more than rounding moves a checkpoint off its plane


def agreement(
    plane: Plane, objective: Objective, test: Objective | None, losses_at: Callable[..., Mapping[str, float]]
) -> list[dict[str, object]]:
    """An entry for each checkpoint of the plane, JSON-serialisable; ``losses_at`` are the surface's at coordinates.

    Each has its ``label``, the ``sha256`` of its parameters, its ``distance`` from the plane, the losses of the
    ``surface`` at the nearest point of the plane, its ``own`` losses, and whether they ``agree`` (``None`` for a
    checkpoint that is not on the plane). If batch-norm statistics are recomputed, ``stored`` are its losses with the
    statistics that it holds.
    """
    entries: list[dict[str, object]] = []
    if not plane.through:
        return entries
    marks = located(objective, plane.x, plane.y, plane.through)
    for waypoint, place, distance in zip(plane.through, marks.coordinates, marks.distances, strict=True):
        recomputed = waypoint.recalibrated if objective.recalibrated_on else {}
        own = (
            recomputed
            or waypoint.own
            or {
                name: each.evaluate(waypoint.point.to(each.point))[0]
                for name, each in (("loss", objective), ("test_loss", test))
                if each is not None
            }
        )
        pairs = {name: (loss, own[name]) for name, loss in losses_at(*place.tolist()).items() if name in own}
        offset = float(objective.shards.norm(waypoint.point.to(objective.point) - objective.point))
        on_plane = float(distance) <= _ON_PLANE * offset
        entries.append(
            {
                "label": waypoint.label,
                "sha256": fingerprint(waypoint.point, shards=objective.shards),
                "distance": float(distance),
                "surface": {name: a for name, (a, _) in pairs.items()},
                "own": {name: b for name, (_, b) in pairs.items()},
                "agree": not waypoint.held and all(_same(*pair) for pair in pairs.values())
                if on_plane
                else None,
                **({"held": waypoint.held} if waypoint.held else {}),
                **({"stored": {name: waypoint.own[name] for name in pairs}} if recomputed else {}),
            }
        )
    return entries


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE) or (math.isnan(a) and math.isnan(b))
