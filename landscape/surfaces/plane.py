"""Slices of parameter space, θ + a·x + b·y or θ + a·x, and the table of the kinds there are."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from landscape.objective import Objective
from landscape.records.landmarks import Landmarks
from landscape.registry.names import NameTable, Row, Specification
from landscape.surfaces.bezier_curve import bezier_curve
from landscape.surfaces.directions import Directions, Interval, Waypoint
from landscape.surfaces.hessian_eigenvectors import hessian_eigenvectors
from landscape.surfaces.interpolation import interpolation
from landscape.surfaces.random_directions import random_directions, random_line
from landscape.surfaces.sam_direction import sam_direction
from landscape.surfaces.statistics import (
    Interpolation,
    different_statistics,
    interpolation_between,
    refuse_interpolation,
)
from landscape.surfaces.through_checkpoints import through_checkpoints
from landscape.surfaces.trajectory import trajectory


@dataclass(frozen=True, eq=False, kw_only=True)
class Plane:
    """One or two directions at a point, and how they were made.

    Attributes:
        kind: The name in :data:`PLANES`.
        settings: The options that were used, all of them.
        x: The first direction, ``(n,)``.
        y: The second direction, ``(n,)``; ``None`` for a line.
        cosine: The cosine of the angle between the two, as they are after normalisation; ``None`` for a line.
        norms: The lengths of the directions.
        ignored: Names of the parameters that neither direction moves by rule.
        labels: What the axes are, with their unit, as on a figure.
        extent: From where to where it is to be seen along each axis; ``None`` for around the point.
        markers: Checkpoints in coordinates of the plane.
        trajectory: The path of a run, or a curve.
        details: What else the kind knows of its directions.
        through: The checkpoints that it was made from.
        statistics: Batch-norm statistics at each of its points, where those of the checkpoints differ.
    """

    kind: str
    settings: Mapping[str, object]
    x: Tensor
    y: Tensor | None
    cosine: float | None
    norms: tuple[float, ...]
    ignored: tuple[str, ...]
    labels: tuple[str, ...]
    extent: tuple[Interval, Interval] | None = None
    markers: Landmarks | None = None
    trajectory: Landmarks | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    through: tuple[Waypoint, ...] = ()
    statistics: Interpolation | None = None

    def describe(self) -> dict[str, object]:
        """How the plane was made, for the file of a surface; the hash is that of the directions."""
        return {
            "kind": self.kind,
            "settings": dict(self.settings),
            "cosine": self.cosine,
            "norms": list(self.norms),
            "ignored": list(self.ignored),
            "labels": list(self.labels),
            "sha256": fingerprint(*(v for v in (self.x, self.y) if v is not None)),
            **({} if self.statistics is None else {"statistics_sha256": _fingerprint_of(self.statistics)}),
            **self.details,
        }


@dataclass(frozen=True)
class PlaneRow(Row[Directions]):
    """One kind of plane.

    Attributes:
        origin: Which of the checkpoints that are given is θ, where one plane goes through several; ``None``
            for a kind that is made at a single checkpoint.
        line: Whether there is one direction only.
        between: Whether its points are affine combinations of the checkpoints, so that stored batch-norm statistics
            can be interpolated.
    """

    origin: Literal["first", "last"] | None = None
    line: bool = False
    between: bool = False


_THROUGH = frozenset({"through"})

PLANES: NameTable[Directions] = NameTable(
    "plane",
    [
        PlaneRow(
            "random",
            random_directions,
            "two Gaussian directions, filter-normalised",
            "Li et al. 2018, arXiv:1712.09913",
        ),
        PlaneRow(
            "line",
            random_line,
            "one Gaussian direction, filter-normalised",
            "Li et al. 2018, arXiv:1712.09913",
            line=True,
        ),
        PlaneRow(
            "eigenvectors",
            hessian_eigenvectors,
            "two Hessian eigenvectors of length 1",
            "Yao et al. 2020, arXiv:1912.07145",
        ),
        PlaneRow(
            "sam",
            sam_direction,
            "SAM's ascent direction ∇L/‖∇L‖, and a random one",
            "Foret et al. 2021, arXiv:2010.01412",
        ),
        PlaneRow(
            "checkpoints",
            through_checkpoints,
            "through two or three checkpoints, orthonormal",
            "Garipov et al. 2018, arXiv:1802.10026",
            _THROUGH,
            origin="first",
            between=True,
        ),
        PlaneRow(
            "interpolation",
            interpolation,
            "the line between two checkpoints, with its barrier",
            "Frankle et al. 2020, arXiv:1912.05671",
            _THROUGH,
            origin="first",
            line=True,
            between=True,
        ),
        PlaneRow(
            "bezier",
            bezier_curve,
            "through a low curve trained between two checkpoints",
            "Garipov et al. 2018, arXiv:1802.10026",
            _THROUGH,
            origin="first",
        ),
        PlaneRow(
            "trajectory",
            trajectory,
            "principal components of a run's checkpoints",
            "Li et al. 2018, arXiv:1712.09913",
            _THROUGH,
            origin="last",
        ),
    ],
)
"""The kinds of planes: ``build(objective, **options)`` → :class:`Directions`."""


def origin_of(specification: str | Specification) -> Literal["first", "last"] | None:
    """Which of several checkpoints the plane of that name has its origin at; ``None`` if it takes one only.

    Raises:
        UsageError: There is no such name or option.
    """
    row = PLANES.row(PLANES.parse(specification).name)
    return row.origin if isinstance(row, PlaneRow) else None


def is_line(specification: str | Specification) -> bool:
    """Whether the plane of that name is a line.

    Raises:
        UsageError: There is no such name or option.
    """
    row = PLANES.row(PLANES.parse(specification).name)
    return isinstance(row, PlaneRow) and row.line


def build_plane(
    specification: str | Specification, objective: Objective, *, through: Sequence[Waypoint] = ()
) -> Plane:
    """The plane of that name through the objective's point.

    Args:
        specification: A name in :data:`PLANES` with its options, as ``"random:normalisation=layer,seed=1"``.
        objective: Where.
        through: For a kind that goes through several checkpoints: all of them, the objective's own included.

    Raises:
        UsageError: There is no such name or option, or not as many checkpoints as the kind needs; or the checkpoints
            have different batch-norm statistics, and none are right on such a plane.
        InputError: No such plane goes through these checkpoints.
    """
    parsed = PLANES.parse(specification)
    row = PLANES.row(parsed.name)
    own = different_statistics(objective, through)
    if own is not None and not (isinstance(row, PlaneRow) and row.between):
        refuse_interpolation(row.name, through)
    directions = PLANES.build(parsed, objective, through=through)
    vectors = [v.double() for v in (directions.x, directions.y) if v is not None]
    norms = tuple(float(v.norm()) for v in vectors)
    cosine = float(vectors[0] @ vectors[1]) / (norms[0] * norms[1]) if len(vectors) == 2 else None
    return Plane(
        kind=row.name,
        settings={name: parsed.options.get(name, option.default) for name, option in row.options.items()},
        x=directions.x,
        y=directions.y,
        cosine=cosine,
        norms=norms,
        ignored=directions.ignored,
        labels=directions.labels,
        extent=directions.extent,
        markers=directions.markers,
        trajectory=directions.trajectory,
        details=directions.details,
        through=tuple(through),
        statistics=None if own is None else interpolation_between(own, directions.markers),
    )


def _fingerprint_of(statistics: Interpolation) -> str:
    return fingerprint(*(own[name] for own in statistics.own for name in sorted(own)))


def fingerprint(*vectors: Tensor) -> str:
    """SHA-256 over the bytes of vectors."""
    digest = hashlib.sha256()
    for vector in vectors:
        digest.update(vector.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
