"""Whether a surface has, at each checkpoint that it goes through, the loss which that checkpoint has by itself.

It does not where something differs between the checkpoints that no direction moves: batch-norm statistics, frozen
weights, other buffers. Heights between such checkpoints mean nothing.
"""

import math
from collections.abc import Callable, Mapping

import torch

from landscape.objective import Objective
from landscape.surfaces.directions import located
from landscape.surfaces.plane import Plane, fingerprint

_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
"""How far two losses of the same network may be apart in single precision, by two kinds of forward passes."""

_ON_PLANE = 1e-4
"""How far from the plane a checkpoint on it may seem to be, as a fraction of its distance from the origin."""

Losses = Mapping[str, float]


def agreement(
    plane: Plane,
    objective: Objective,
    test: Objective | None,
    surface_at: Callable[..., Losses],
) -> list[dict[str, object]]:
    """An entry for each checkpoint of the plane, JSON-serialisable.

    Args:
        plane: The plane, with its checkpoints.
        objective: At the origin.
        test: The same network on the test data, if the surface has those.
        surface_at: The losses of the surface, by name, at coordinates of the plane.

    Returns:
        For each its ``label``, the ``sha256`` of its parameters, its ``distance`` from the plane, the losses of the
        ``surface`` at the nearest point of the plane, its ``own``, and whether they ``agree``: ``None`` for a
        checkpoint that is not on the plane.
    """
    entries: list[dict[str, object]] = []
    if not plane.through:
        return entries
    marks = located(objective.point, plane.x, plane.y, plane.through)
    for waypoint, place, distance in zip(plane.through, marks.coordinates, marks.distances, strict=True):
        own = dict(waypoint.own) or _by_its_parameters(waypoint.point, objective, test)
        found = surface_at(*place.tolist())
        common = [name for name in found if name in own]
        offset = float((waypoint.point.to(objective.point) - objective.point).double().norm())
        on_plane = float(distance) <= _ON_PLANE * offset
        entries.append(
            {
                "label": waypoint.label,
                "sha256": fingerprint(waypoint.point),
                "distance": float(distance),
                "surface": {name: found[name] for name in common},
                "own": {name: own[name] for name in common},
                "agree": all(_same(found[name], own[name]) for name in common) if on_plane else None,
            }
        )
    return entries


def _by_its_parameters(point: torch.Tensor, objective: Objective, test: Objective | None) -> dict[str, float]:
    """The losses of a checkpoint of which nothing but its parameters is known."""
    return {
        name: each.evaluate(point.to(each.point))[0]
        for name, each in (("loss", objective), ("test_loss", test))
        if each is not None
    }


def _same(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE) or (a != a and b != b)
