"""A plane as bytes, so that processes that share a surface compute it once and have the same to the last bit."""

import io
from collections.abc import Sequence
from typing import Any

import torch

from landscape.errors import InputError
from landscape.records.landmarks import Landmarks
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.plane import Plane
from landscape.surfaces.statistics import Interpolation

_PLAIN = ("labels", "ignored", "extent", "details", "kind", "settings", "cosine", "norms", "recalibrated")
_LANDMARKS = ("markers", "trajectory")


def plane_to_bytes(plane: Plane) -> bytes:
    """The plane without its checkpoints, which every process has."""
    content: dict[str, Any] = {name: getattr(plane, name) for name in _PLAIN}
    content |= {"details": dict(plane.details), "settings": dict(plane.settings)}
    content |= {"x": plane.x.cpu(), "y": None if plane.y is None else plane.y.cpu()}
    for name in _LANDMARKS:
        marks: Landmarks | None = getattr(plane, name)
        content[name] = None if marks is None else marks.to_dict()
    if plane.statistics is not None:
        own = [{name: each.cpu() for name, each in there.items()} for there in plane.statistics.own]
        content["statistics"] = {"own": own, "shares": torch.from_numpy(plane.statistics.shares)}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def plane_from_bytes(
    content: bytes, *, like: torch.Tensor, through: Sequence[Waypoint], source: object
) -> Plane:
    """The plane, on the device of the point ``like``; no code in the content is run.

    Raises:
        InputError: The content of the file ``source`` is damaged.
    """
    try:
        fields: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
        for name in ("x", "y"):
            fields[name] = None if fields[name] is None else fields[name].to(like.device)
        for name in _LANDMARKS:
            fields[name] = None if fields[name] is None else Landmarks(**fields[name])
        statistics = fields.pop("statistics", None)
        if statistics is not None:
            own = [
                {name: each.to(like.device) for name, each in there.items()} for there in statistics["own"]
            ]
            fields["statistics"] = Interpolation(tuple(own), statistics["shares"].numpy())
        return Plane(**fields, through=tuple(through))
    except Exception as failure:  # unpickling damaged bytes raises many types
        raise InputError(f"{source} is damaged; delete its folder to start over") from failure
