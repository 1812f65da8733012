"""What a caption says of some kinds of planes only: eigenvalues, barriers, how much of a path a plane shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.records.landmarks import Landmarks


def plane_facts(plane: Mapping[str, Any], meta: Mapping[str, Any], path: Landmarks | None) -> dict[str, str]:
    """Sentences by what they are about.

    Args:
        plane: How the plane was made, as the file of a surface says.
        meta: What else the file says: barriers on a line, and the losses of the checkpoints.
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
    if "barrier" in plane.get("curve", {}):
        curve = plane["curve"]["barrier"]
        facts["curve"] = f"Barrier on the curve {_number(curve['height'])} at t = {_number(curve['at'])}."
    for name, height in meta.get("barrier", {}).items():
        which = name.replace("_", " ")
        facts[f"barrier {name}"] = (
            f"Barrier of the {which} {_number(height['height'])} at t = {_number(height['at'])}."
        )
    if meta.get("checkpoints"):
        facts["checkpoints"] = f"Loss at the checkpoints: {checked_at(meta['checkpoints'])}."
    if "disagreement" in meta:
        facts["disagreement"] = (
            f"Not a surface of all its checkpoints, and no barrier is given: {meta['disagreement']}."
        )
    return facts


def checked_at(checks: Sequence[Mapping[str, Any]]) -> str:
    """The losses of a surface at the checkpoints that it goes through, each beside the checkpoint's own."""
    on_plane = [check for check in checks if check["agree"] is not None]
    beside = [check for check in checks if check["agree"] is None]
    parts = [
        f"{_number(check['surface'][name])} at {check['label']} (its own {_number(check['own'][name])}"
        f"{'' if name == 'loss' else ', ' + name.replace('_', ' ')})"
        for check in on_plane
        for name in check["own"]
    ]
    if beside:
        furthest = max(beside, key=lambda check: abs(check["surface"]["loss"] - check["own"]["loss"]))
        parts.append(
            f"{len(beside)} beside the plane, whose own losses are not those of the nearest points, such as "
            f"{_number(furthest['surface']['loss'])} for {furthest['label']} ({_number(furthest['own']['loss'])})"
        )
    return ", ".join(parts)


def batch_norm_fact(meta: Mapping[str, Any], statistics: str) -> str:
    """Which batch-norm statistics a surface has.

    Args:
        meta: What its file says.
        statistics: The flag that chose them.
    """
    return f"Batch norm: {statistics} statistics{', ' + str(meta['batch_norm']) if 'batch_norm' in meta else ''}."


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
