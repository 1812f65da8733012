"""What a caption says of some kinds of planes only: eigenvalues, barriers, how much of a path a plane shows."""

from collections.abc import Mapping
from typing import Any

from landscape.surfaces.landmarks import Landmarks


def plane_facts(
    plane: Mapping[str, Any], barrier: Mapping[str, Any], path: Landmarks | None
) -> dict[str, str]:
    """Sentences by what they are about.

    Args:
        plane: How the plane was made, as the file of a surface says.
        barrier: Those of the losses on a line between checkpoints, by the names of the losses.
        path: The path of a run or a curve.
    """
    facts = {}
    if "eigenvalues" in plane:
        values = " and ".join(_number(value) for value in plane["eigenvalues"])
        found = "" if plane.get("converged", True) else ", not converged"
        facts["eigenvalues"] = f"Eigenvalues {values}{found}."
    if "explained_variance" in plane:
        shares = " and ".join(f"{share:.1%}" for share in plane["explained_variance"])
        chance = " and ".join(f"{share:.1%}" for share in plane["explained_variance_of_a_random_walk"])
        facts["variance"] = f"The axes explain {shares} of the path's variance, of a random walk's {chance}."
        if path is not None:
            furthest = int(path.distances.argmax())
            facts["distance"] = (
                f"Furthest from the plane is {path.labels[furthest]}, at {_number(path.distances[furthest])}."
            )
    if "curve" in plane:
        curve = plane["curve"]["barrier"]
        facts["curve"] = f"Barrier on the curve {_number(curve['height'])} at t = {_number(curve['at'])}."
    for name, height in barrier.items():
        which = name.replace("_", " ")
        facts[f"barrier {name}"] = (
            f"Barrier of the {which} {_number(height['height'])} at t = {_number(height['at'])}."
        )
    return facts


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
