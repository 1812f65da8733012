"""Batch-norm statistics on a plane through several checkpoints, each of which has its own.

Stored statistics belong to the weights of one checkpoint. At another checkpoint they are wrong, and the loss there can
be any number. By default they are recomputed at every point. On the line or plane through two or three checkpoints
there is also one affine interpolation under which each has its own; it is right at the checkpoints only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.records.landmarks import Landmarks
from landscape.reductions import exact
from landscape.surfaces.directions import Waypoint

Statistics = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Statistics that are affine in the coordinates of a plane and exact at each of K checkpoints.

    Attributes:
        own: The statistics of the checkpoints; the first is the origin.
        shares: ``(K − 1, d)``, the shares of the others per unit of each of the d coordinates.
    """

    own: tuple[Statistics, ...]
    shares: NDArray[np.float64]

    @classmethod
    def between(cls, own: Mapping[str, Statistics | None], marks: Landmarks | None) -> "Interpolation":
        """The interpolation through checkpoints at these coordinates; the first checkpoint is at the origin.

        Beside a line through two checkpoints the statistics are those of the nearest point on it.
        """
        assert marks is not None  # every kind with points between checkpoints marks these
        for label, statistics in own.items():
            if statistics is None:
                raise UsageError(
                    f"the batch-norm statistics of {label} are not known, and its loss depends on them; make the "
                    "waypoint by Waypoint.of(label, objective), or the objective with batch_norm='recalibrate'"
                )
        known = tuple(statistics for statistics in own.values() if statistics is not None)
        return cls(known, np.asarray(np.linalg.pinv(marks.coordinates[1:].T), np.float64))

    def at(self, *coordinates: float) -> dict[str, Tensor]:
        """The statistics at a point of the plane."""
        shares = (self.shares @ np.array(coordinates[: self.shares.shape[1]])).tolist()
        mixture = {}
        for name, first in self.own[0].items():
            values = torch.stack([exact(statistics[name]) for statistics in self.own])
            mixed = values[0] + sum(
                share * (value - values[0]) for share, value in zip(shares, values[1:], strict=True)
            )
            if name.endswith("running_var"):
                # Beyond the checkpoints an affine function becomes negative, and a variance must not.
                mixed = torch.maximum(mixed, values.amin(0))
            mixture[name] = mixed.to(first.dtype)
        return mixture


def different_statistics(
    objective: Objective, through: Sequence[Waypoint]
) -> dict[str, Statistics | None] | None:
    """The stored statistics of the checkpoints by label, ``None`` where unknown.

    Returns:
        ``None`` if none are stored, if they are recomputed anyway, or if they are the same everywhere.
    """
    used = objective.statistics if objective.recalibrated_on is None else {}
    if not used or not through:
        return None
    own: dict[str, Statistics | None] = {}
    for waypoint in through:
        statistics = waypoint.statistics
        if statistics is None and torch.equal(waypoint.point.to(objective.point), objective.point):
            statistics = used
        own[waypoint.label] = statistics and {
            name: statistics[name].to(values) for name, values in used.items()
        }
    same = all(there and all(torch.equal(there[name], used[name]) for name in used) for there in own.values())
    return None if same else own
