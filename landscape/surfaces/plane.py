"""Slices of parameter space, θ + a·x + b·y or θ + a·x, and the table of their kinds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from landscape.errors import InputError, UsageError
from landscape.isolation.modes import outside_modes
from landscape.objective import Objective
from landscape.objective.shards import Shards
from landscape.reductions import numbers
from landscape.registry.names import NameTable, Row, Specification
from landscape.surfaces.bezier_curve import bezier_curve
from landscape.surfaces.directions import Directions, Waypoint
from landscape.surfaces.hessian_eigenvectors import hessian_eigenvectors
from landscape.surfaces.interpolation import interpolation
from landscape.surfaces.random_directions import random_directions, random_line
from landscape.surfaces.sam_direction import sam_direction
from landscape.surfaces.statistics import Interpolation, different_statistics
from landscape.surfaces.through_checkpoints import through_checkpoints
from landscape.surfaces.trajectory import trajectory


@dataclass(frozen=True, eq=False, kw_only=True)
class Plane(Directions):
    """One or two directions at a point, and how they were made; see also :class:`Directions`.

    Attributes:
        kind: The name in :data:`PLANES`.
        settings: All options, with their values.
        cosine: The cosine of the angle between the two directions; ``None`` for a line.
        norms: The lengths of the directions.
        through: The checkpoints that it was made from.
        recalibrated: Whether batch-norm statistics are recomputed at each of its points, because those of the
            checkpoints differ.
        statistics: The interpolated ones, if the objective insists on stored statistics.
        shards: What is held here of the directions; ``None`` for all.
    """

    kind: str
    settings: Mapping[str, object]
    cosine: float | None
    norms: tuple[float, ...]
    through: tuple[Waypoint, ...] = ()
    recalibrated: bool = False
    statistics: Interpolation | None = None
    shards: Shards | None = None

    def describe(self) -> dict[str, object]:
        """How the plane was made, for the file of a surface; the hash is that of the directions."""
        vectors = (v for v in (self.x, self.y) if v is not None)
        hashes = {"sha256": fingerprint(*vectors, shards=self.shards)}
        if self.statistics is not None:
            tensors = (own[name] for own in self.statistics.own for name in sorted(own))
            hashes["statistics_sha256"] = fingerprint(*tensors)
        return {
            "kind": self.kind,
            "settings": dict(self.settings),
            "cosine": self.cosine,
            "norms": list(self.norms),
            "ignored": list(self.ignored),
            "labels": list(self.labels),
            **hashes,
            **self.details,
        }


@dataclass(frozen=True)
class PlaneRow(Row[Directions]):
    """One kind of plane.

    Attributes:
        origin: Which of several checkpoints is θ; ``None`` for a kind that is made at a single checkpoint.
        line: Whether there is only one direction.
        between: Whether batch-norm statistics can be interpolated: its points are affine in the checkpoints.
    """

    origin: Literal["first", "last"] | None = None
    line: bool = False
    between: bool = False


_THROUGH = frozenset({"through"})
_LI = "Li et al. 2018, arXiv:1712.09913"
_YAO = "Yao et al. 2020, arXiv:1912.07145"
_FORET = "Foret et al. 2021, arXiv:2010.01412"
_GARIPOV = "Garipov et al. 2018, arXiv:1802.10026"
_FRANKLE = "Frankle et al. 2020, arXiv:1912.05671"

# fmt: off
PLANES: NameTable[Directions] = NameTable("plane", [
    PlaneRow("random", random_directions, "two Gaussian directions, filter-normalised", _LI),
    PlaneRow("line", random_line, "one Gaussian direction, filter-normalised", _LI, line=True),
    PlaneRow("eigenvectors", hessian_eigenvectors, "two Hessian eigenvectors of length 1", _YAO),
    PlaneRow("sam", sam_direction, "SAM's ascent direction ∇L/‖∇L‖, and a random one", _FORET),
    PlaneRow("checkpoints", through_checkpoints, "through two or three checkpoints, orthonormal", _GARIPOV,
             _THROUGH, origin="first", between=True),
    PlaneRow("interpolation", interpolation, "the line between two checkpoints, with its barrier", _FRANKLE,
             _THROUGH, origin="first", line=True, between=True),
    PlaneRow("bezier", bezier_curve, "through a low curve trained between two checkpoints", _GARIPOV,
             _THROUGH, origin="first"),
    PlaneRow("trajectory", trajectory, "principal components of a run's checkpoints", _LI,
             _THROUGH, origin="last"),
])
# fmt: on
"""The kinds of planes: ``build(objective, **options)`` → :class:`Directions`."""


def plane_row(specification: str | Specification) -> PlaneRow:
    """The row of a plane; raises :class:`UsageError` if there is no such name or option."""
    row = PLANES.row(PLANES.parse(specification).name)
    assert isinstance(row, PlaneRow)
    return row


@outside_modes()
def build_plane(
    specification: str | Specification, objective: Objective, *, through: Sequence[Waypoint] = ()
) -> Plane:
    """The plane of that name through the objective's point.

    Args:
        specification: A name in :data:`PLANES` with its options, such as ``"random:normalisation=layer,seed=1"``.
        objective: The point.
        through: For a kind that goes through several checkpoints: all of them, including the objective's own.

    Raises:
        UsageError: The name, an option or the number of checkpoints is wrong; or the checkpoints have different
            batch-norm statistics, the objective insists on stored ones, and none are right on such a plane.
        InputError: No such plane goes through these checkpoints.
    """
    parsed, row = PLANES.parse(specification), plane_row(specification)
    if not objective.dimension:
        raise InputError("no plane: the network has no weights in floating point that could be moved")
    own = different_statistics(objective, through)
    recalibrated = own is not None and objective.batch_norm == "auto"
    if recalibrated:
        objective, own = objective.recalibrating(), None
    if own is not None and not row.between:
        labels = ", ".join([waypoint.label for waypoint in through[:3]] + ["…"] * (len(through) > 3))
        raise UsageError(
            f"plane '{row.name}' with stored batch-norm statistics: those of {labels} differ, and no "
            "statistics are right at every point between; leave out --batch-norm stored (batch_norm='stored'), or "
            "choose recalibrate, so that they are recomputed at each"
        )
    directions = PLANES.build(parsed, objective, through=through)
    vectors, shards = [v for v in (directions.x, directions.y) if v is not None], objective.shards
    product, *norms = numbers(shards.dot(vectors[0], vectors[-1]), *map(shards.norm, vectors))
    return Plane(
        **vars(directions),
        kind=row.name,
        settings={name: parsed.options.get(name, option.default) for name, option in row.options.items()},
        cosine=product / (norms[0] * norms[1]) if len(vectors) == 2 else None,
        norms=tuple(norms),
        through=tuple(through),
        recalibrated=recalibrated,
        statistics=None if own is None else Interpolation.between(own, directions.markers),
        shards=shards,
    )


def fingerprint(*vectors: Tensor, shards: Shards | None = None) -> str:
    """SHA-256 over the bytes of vectors; of whole ones where processes hold ``shards`` of them."""
    digest = hashlib.sha256()
    for vector in vectors:
        for part in [vector] if shards is None else shards.in_turn(vector.detach()):
            digest.update(part.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
