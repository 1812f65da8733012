"""The straight line between two checkpoints."""

from collections.abc import Sequence

from landscape.objective import Objective
from landscape.surfaces.directions import Directions, Waypoint, checked, located


def interpolation(objective: Objective, *, through: Sequence[Waypoint]) -> Directions:
    """L((1 − t) θ₁ + t θ₂) for t from 0 to 1; the objective is that of θ₁.

    Reference:
        Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", 2020, arXiv:1912.05671,
        section 2.
    """
    origin = objective.point
    checked("interpolation", through, objective, least=2, most=2)
    x = through[1].point.to(origin) - origin
    return Directions(
        x=x,
        y=None,
        labels=(f"t, from {through[0].label} (0) to {through[1].label} (1)",),
        extent=((0.0, 1.0), (0.0, 0.0)),
        markers=located(objective, x, None, through),
        details={"between": [waypoint.label for waypoint in through]},
    )
