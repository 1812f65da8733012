"""Two-dimensional slices of parameter space: θ + a·x + b·y, and the table of the kinds there are."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from landscape.objective import Objective
from landscape.registry import NameTable, Row, Specification
from landscape.surfaces.directions import Directions
from landscape.surfaces.random_directions import random_directions


@dataclass(frozen=True, eq=False, kw_only=True)
class Plane:
    """Two directions at a point, and how they were made.

    Attributes:
        kind: The name in :data:`PLANES`.
        settings: The options that were used, all of them.
        x: The first direction, ``(n,)``.
        y: The second direction, ``(n,)``.
        cosine: The cosine of the angle between the two, as they are after normalisation.
        norms: The lengths of the two.
        ignored: Names of the parameters that neither direction moves by rule.
        labels: What the two axes are, with their unit, as on a figure.
    """

    kind: str
    settings: Mapping[str, object]
    x: Tensor
    y: Tensor
    cosine: float
    norms: tuple[float, float]
    ignored: tuple[str, ...]
    labels: tuple[str, str]

    def describe(self) -> dict[str, object]:
        """How the plane was made, for the file of a surface; the hash is that of the two directions."""
        return {
            "kind": self.kind,
            "settings": dict(self.settings),
            "cosine": self.cosine,
            "norms": list(self.norms),
            "ignored": list(self.ignored),
            "labels": list(self.labels),
            "sha256": fingerprint(self.x, self.y),
        }


PLANES: NameTable[Directions] = NameTable(
    "plane",
    [
        Row(
            "random",
            random_directions,
            "two Gaussian directions, filter-normalised",
            "Li et al. 2018, arXiv:1712.09913",
        ),
    ],
)
"""The kinds of planes: ``build(objective, **options)`` → :class:`Directions`."""


def build_plane(specification: str | Specification, objective: Objective) -> Plane:
    """The plane of that name through the objective's point.

    Args:
        specification: A name in :data:`PLANES` with its options, as ``"random:normalisation=layer,seed=1"``.
        objective: Where.

    Raises:
        UsageError: There is no such name or option.
    """
    parsed = PLANES.parse(specification)
    row = PLANES.row(parsed.name)
    directions = PLANES.build(parsed, objective)
    x, y = directions.x.double(), directions.y.double()
    norms = float(x.norm()), float(y.norm())
    return Plane(
        kind=row.name,
        settings={name: parsed.options.get(name, option.default) for name, option in row.options.items()},
        x=directions.x,
        y=directions.y,
        cosine=float(x @ y) / (norms[0] * norms[1]),
        norms=norms,
        ignored=directions.ignored,
        labels=directions.labels,
    )


def fingerprint(*vectors: Tensor) -> str:
    """SHA-256 over the bytes of vectors."""
    digest = hashlib.sha256()
    for vector in vectors:
        digest.update(vector.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
