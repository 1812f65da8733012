"""Batch-norm statistics on a plane through several checkpoints, each of which has its own.

Stored statistics belong to the weights of one checkpoint. At another checkpoint they are wrong, and the loss there can
be any number. On the line or plane through two or three checkpoints there is one affine interpolation under which every
checkpoint has its own; elsewhere nothing but recomputing them is right.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.records.landmarks import Landmarks
from landscape.surfaces.directions import Waypoint

Statistics = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Statistics that are affine in the coordinates of a plane, and each checkpoint's own at that checkpoint.

    A variance is never less than the least that a checkpoint has in that channel; that matters only beyond the
    checkpoints, where an affine function can become negative.

    Attributes:
        own: The statistics of the K checkpoints; the first is the origin.
        shares: ``(K − 1, d)``, the shares of the others per unit of each of the d coordinates.
    """

    own: tuple[Statistics, ...]
    shares: NDArray[np.float64]

    def at(self, *coordinates: float) -> dict[str, Tensor]:
        """The statistics at a point of the plane."""
        shares = self.shares @ np.array(coordinates[: self.shares.shape[1]])
        found = {}
        for name, first in self.own[0].items():
            values = [statistics[name].double() for statistics in self.own]
            mixed = values[0] + sum(
                share * (value - values[0]) for share, value in zip(shares.tolist(), values[1:], strict=True)
            )
            if name.endswith("running_var"):
                mixed = torch.maximum(mixed, torch.stack(values).amin(0))
            found[name] = mixed.to(first.dtype)
        return found


def different_statistics(objective: Objective, through: Sequence[Waypoint]) -> tuple[Statistics, ...] | None:
    """The stored statistics of all checkpoints; ``None`` where they are not used or are the same everywhere.

    Raises:
        UsageError: Those of a checkpoint are needed and not known.
    """
    used = None if objective._risk.calibration else objective._risk.replica.statistics
    if not used or not through:
        return None
    own: list[Statistics] = []
    for waypoint in through:
        statistics = waypoint.statistics
        if statistics is None and torch.equal(waypoint.point.to(objective.point), objective.point):
            statistics = used
        if statistics is None:
            raise UsageError(
                f"the batch-norm statistics of {waypoint.label} are not known, so that its loss is not either; "
                "make the waypoint by Waypoint.of(label, objective), or the objective with batch_norm='recalibrate'"
            )
        own.append({name: statistics[name].to(values) for name, values in used.items()})
    same = all(torch.equal(one[name], used[name]) for one in own for name in used)
    return None if same else tuple(own)


def refuse_interpolation(kind: str, through: Sequence[Waypoint]) -> None:
    """Refuses stored statistics on a plane most of whose points lie between no checkpoints.

    Raises:
        UsageError: Always.
    """
    labels = ", ".join([waypoint.label for waypoint in through[:3]] + ["…"] * (len(through) > 3))
    raise UsageError(
        f"plane '{kind}' with stored batch-norm statistics: those of {labels} differ, and no "
        "statistics are right at every point between; add --batch-norm recalibrate "
        "(batch_norm='recalibrate'), which recomputes them at each"
    )


def interpolation_between(own: Sequence[Statistics], marks: Landmarks | None) -> Interpolation:
    """The affine interpolation through checkpoints at these coordinates, the first of which is the origin.

    Beside a line through two checkpoints the statistics are those of the nearest point on it.
    """
    assert marks is not None  # every kind with points between checkpoints marks these
    shares = np.asarray(np.linalg.pinv(marks.coordinates[1:].T), np.float64)
    return Interpolation(tuple(own), shares)


@contextlib.contextmanager
def restored(*objectives: Objective | None) -> Iterator[None]:
    """Gives objectives their statistics back on leaving."""
    before = [(objective, objective._risk.replica.statistics) for objective in objectives if objective]
    try:
        yield
    finally:
        for objective, statistics in before:
            objective._risk.replica.store(statistics)
