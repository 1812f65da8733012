"""The plane through two or three checkpoints."""

from collections.abc import Sequence

from landscape.objective import Objective
from landscape.reductions import exact
from landscape.registry.bounds import Seed
from landscape.surfaces.directions import Directions, Waypoint, around, checked, located, orthonormal
from landscape.surfaces.random_directions import random_direction


def through_checkpoints(
    objective: Objective, *, through: Sequence[Waypoint], margin: float = 0.2, seed: Seed = 0
) -> Directions:
    """The plane through three checkpoints, or through two and along a random direction; orthonormal directions.

    The first axis leads from the first checkpoint, which is the objective's, to the second. Distances in the figure are
    distances in parameter space. ``margin`` is the border, as a fraction of the distance between the outermost.

    Reference:
        Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", 2018, arXiv:1802.10026,
        appendix A.1.
    """
    origin = objective.point
    checked("checkpoints", through, objective, least=2, most=3)
    first, *others = (exact(waypoint.point.to(origin)) - exact(origin) for waypoint in through[1:])
    second = others[0] if others else random_direction(objective, normalisation="none", seed=seed, axis=2)
    x, y = orthonormal(first, second, objective.shards)
    marks = located(objective, x, y, through)
    names = [waypoint.label for waypoint in through]
    return Directions(
        x=x.to(origin),
        y=y.to(origin),
        labels=(f"distance from {names[0]} towards {names[1]}", "distance across"),
        extent=around(marks, margin),
        markers=marks,
    )
