"""Directions in parameter space: the result of every kind of plane, and the random numbers behind them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from landscape.errors import InputError, UsageError
from landscape.objective import Objective
from landscape.objective.shards import Shards
from landscape.parameters import Entry
from landscape.records.landmarks import Landmarks
from landscape.reductions import exact

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Waypoint:
    """A checkpoint that a plane goes through or shows.

    Attributes:
        label: Its name.
        point: Its parameters ``(n,)``.
        statistics: Its stored batch-norm statistics by the names of the buffers; ``None`` if unknown.
        own: The losses of the checkpoint itself, under the names that the surface uses, for comparison. If empty, they
            are computed from the parameters alone.
        recalibrated: The same with batch-norm statistics that are recomputed from the training examples.
        held: In which parameters that are held fixed it differs from the checkpoint of the surface, in words; empty for
            none, or if unknown. The surface does not pass through it then.
    """

    label: str
    point: Tensor
    statistics: Mapping[str, Tensor] | None = None
    own: Mapping[str, float] = field(default_factory=dict)
    recalibrated: Mapping[str, float] = field(default_factory=dict)
    held: str = ""

    @classmethod
    def of(
        cls,
        label: str,
        objective: Objective,
        *,
        test: Objective | None = None,
        origin: Objective | None = None,
    ) -> "Waypoint":
        """The checkpoint of an objective, with its statistics and losses.

        Args:
            label: Its name.
            objective: The checkpoint.
            test: The same on the test data.
            origin: That of the surface, with which parameters that are held fixed are compared.
        """
        held = "" if origin is None else _other_fixed(origin, objective)
        objectives = {"loss": objective} | ({} if test is None else {"test_loss": test})

        def losses(statistics: Mapping[str, Tensor] | None) -> dict[str, float]:
            there = {name: each.at(each.point, statistics=statistics) for name, each in objectives.items()}
            return {name: each.loss for name, each in there.items()}

        stored = objective.statistics
        if not stored or objective.batch_norm == "stored":
            own = {name: each.loss for name, each in objectives.items()}
            return cls(label, objective.point, stored, own, held=held)
        anew = objective.recalibrating()
        recalibrated = losses(anew.statistics_at(anew.point))
        return cls(label, objective.point, stored, losses(stored), recalibrated, held)


def _other_fixed(origin: Objective, other: Objective) -> str:
    """The parameters that are held fixed and differ between two objectives, in words."""
    free, here = set(origin.layout.names), dict(origin.network.named_parameters())
    there = other.network.named_parameters()
    names = [n for n, p in there if n not in free and n in here and not torch.equal(p, here[n])]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Directions:
    """One or two directions at a point, as a kind of plane returns them.

    Attributes:
        x: ``(n,)``, on the objective's device and in its dtype.
        y: ``(n,)``; ``None`` for a line.
        labels: The axis labels of a figure, with units.
        ignored: Names of the parameters that neither direction moves by rule.
        extent: The interval to show along each direction; ``None`` for a span of the user's choice around the point.
        markers: Checkpoints, in coordinates of the plane.
        trajectory: The path of a run, or a curve.
        details: Further facts about the directions, JSON-serialisable.
    """

    x: Tensor
    y: Tensor | None
    labels: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    extent: tuple[Interval, Interval] | None = None
    markers: Landmarks | None = None
    trajectory: Landmarks | None = None
    details: Mapping[str, object] = field(default_factory=dict)


def normal_numbers(entry: Entry, *, seed: int, axis: int) -> np.random.Generator:
    """The source of the block of a random direction that belongs to one parameter, each entry from N(0, 1).

    Two checkpoints of one network get the same direction, two seeds or two axes unrelated ones. Drawn in parts, the
    entries are the same.
    """
    label = f"landscape direction\n{seed}\n{axis}\n{entry.name}\n{'x'.join(map(str, entry.shape))}"
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:16], "little")
    # numpy's counter-based numbers, keyed by what the direction is: torch's depend on the device and its version.
    return np.random.Generator(np.random.Philox(key=key))


def checked(
    kind: str, through: Sequence[Waypoint], objective: Objective, *, least: int, most: int | None = None
) -> None:
    """Refuses too few, too many, identical or incompatible checkpoints."""
    origin, count = objective.point, len(through)
    if count < least or (most is not None and count > most):
        allowed = f"{least} or more" if most is None else "two or three" if most > least else str(least)
        raise UsageError(f"plane '{kind}' goes through {allowed} checkpoints, not {count}; name them all")
    for k, waypoint in enumerate(through):
        if waypoint.point.shape != origin.shape:
            raise InputError(
                f"{waypoint.label} has {waypoint.point.numel()} parameters and {through[0].label} "
                f"{origin.numel()}: they are of different networks, and no plane goes through both"
            )
        for other in through[:k]:
            pair = (point.to(origin.device) for point in (waypoint.point, other.point))
            if objective.shards.all(torch.equal(*pair)):
                raise InputError(
                    f"{other.label} and {waypoint.label} are the same point: their parameters are identical, so that "
                    f"they span no plane of kind '{kind}'; give two different checkpoints"
                )


def orthonormal(first: Tensor, second: Tensor, shards: Shards) -> tuple[Tensor, Tensor]:
    """Unit vectors along ``first`` and along the part of ``second`` orthogonal to it, in float64."""
    x = exact(first) / shards.norm(first)
    rest = exact(second)
    length = shards.norm(rest)
    for _ in range(2):  # once leaves a rounding error along x that a second pass removes
        rest = rest - shards.total(x @ rest) * x
    left = shards.norm(rest)
    if float(left) <= 1e-6 * float(length):
        raise InputError("the points lie on one line, which is in many planes; give a point off that line")
    return x, rest / left


def located(objective: Objective, x: Tensor, y: Tensor | None, waypoints: Sequence[Waypoint]) -> Landmarks:
    """The waypoints in the coordinates of the plane through the objective's point, with their distances from it."""
    origin, shards = objective.point, objective.shards
    basis = torch.stack([exact(v) for v in (x, y) if v is not None])
    products = shards.total(basis @ basis.T)
    coordinates, distances = [], []
    for waypoint in waypoints:
        offset = exact(waypoint.point.to(origin.device)) - exact(origin)
        place = torch.linalg.solve(products, shards.total(basis @ offset))
        coordinates.append(place.tolist())
        distances.append(float(shards.norm(offset - place @ basis)))
    return Landmarks(np.array(coordinates), np.array(distances), tuple(w.label for w in waypoints))


def around(marks: Landmarks, margin: float) -> tuple[Interval, Interval]:
    """The rectangle around landmarks, enlarged by the fraction ``margin`` of its size on every side."""
    if not 0 <= margin <= 1e6:
        raise UsageError(
            f"margin={margin} is not allowed; it is a fraction of the distance shown, from 0 to 1e6"
        )
    low, high = marks.coordinates.min(axis=0), marks.coordinates.max(axis=0)
    size = high - low
    # If all landmarks lie on the first axis, the plane extends as far beside it as along it.
    beside = np.where(size <= 1e-9 * size.max(), size.max() / 2, 0)
    low, high = low - beside, high + beside
    pad = margin * (high - low)
    (a, c), (b, d) = (low - pad).tolist(), (high + pad).tolist()
    return (a, b), (c, d)
