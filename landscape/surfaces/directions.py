"""Directions in parameter space: what a kind of plane has to find, and how random numbers are drawn.

Random numbers come from numpy's counter-based Philox generator, keyed by what the direction *is*: they do not
depend on the device, on torch, on the order in which parameters are visited, or on what else was drawn.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import InputError, UsageError
from landscape.objective import Objective
from landscape.parameters import Entry
from landscape.records.landmarks import Landmarks

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Waypoint:
    """A checkpoint that a plane goes through or shows.

    Attributes:
        label: Its name.
        point: Its parameters ``(n,)``.
        statistics: Its stored batch-norm statistics by the names of the buffers; ``None`` where they are unknown.
        own: Its own losses, by the names of the surface's: what the surface is checked against. Those of its
            parameters alone where there are none.
    """

    label: str
    point: Tensor
    statistics: Mapping[str, Tensor] | None = None
    own: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, label: str, objective: Objective, *, test: Objective | None = None) -> "Waypoint":
        """The checkpoint at which an objective stands, with everything that is its own.

        Args:
            label: What to call it.
            objective: The checkpoint's own network on the data of the surface.
            test: The same network on the test data, if the surface has those too.
        """
        own = {"loss": objective.loss} | ({} if test is None else {"test_loss": test.loss})
        return cls(label, objective.point, objective._risk.replica.statistics, own)


@dataclass(frozen=True, eq=False, kw_only=True)
class Directions:
    """One or two directions at a point, as a kind of plane returns them.

    Attributes:
        x: ``(n,)``, on the objective's device and in its dtype.
        y: ``(n,)``; ``None`` for a line.
        labels: What the axes are, with their unit, as on a figure.
        ignored: Names of the parameters that neither direction moves by rule.
        extent: From where to where the plane is to be seen, along each direction, where it is made to show
            certain points; ``None`` for as far as the user says, around the point.
        markers: Checkpoints, in coordinates of the plane.
        trajectory: The path of a run, or a curve.
        details: What else is to be known of how the directions were found, JSON-serialisable.
    """

    x: Tensor
    y: Tensor | None
    labels: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    extent: tuple[Interval, Interval] | None = None
    markers: Landmarks | None = None
    trajectory: Landmarks | None = None
    details: Mapping[str, object] = field(default_factory=dict)


def standard_normal(entry: Entry, *, seed: int, axis: int) -> NDArray[np.float64]:
    """The block of a random direction that belongs to one parameter, ``(size,)``, each entry from N(0, 1).

    A function of the seed, the number of the axis, and the parameter's name and shape only: two checkpoints
    of one network get the same direction, two seeds or two axes unrelated ones.
    """
    label = f"landscape direction\n{seed}\n{axis}\n{entry.name}\n{'x'.join(map(str, entry.shape))}"
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(entry.size)


def checked(
    kind: str, through: Sequence[Waypoint], origin: Tensor, *, least: int, most: int | None = None
) -> None:
    """Refuses checkpoints that no plane of that kind goes through.

    Raises:
        UsageError: Too few or too many.
        InputError: One is of another network, or two are the same.
    """
    count = len(through)
    if count < least or (most is not None and count > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise UsageError(
            f"plane '{kind}' goes through {wanted} checkpoints and {count} were given; name them all"
        )
    for waypoint in through:
        if waypoint.point.shape != origin.shape:
            raise InputError(
                f"{waypoint.label} has {waypoint.point.numel()} parameters and {through[0].label} "
                f"{origin.numel()}: they are of different networks, and no plane goes through both"
            )
    for k, one in enumerate(through):
        for other in through[:k]:
            if torch.equal(one.point, other.point):
                raise InputError(
                    f"{other.label} and {one.label} are the same point: their parameters are identical, so that they "
                    f"span no plane of kind '{kind}'; give two different checkpoints"
                )


def orthonormal(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors along ``first`` and along the part of ``second`` that is orthogonal to it, in float64.

    Raises:
        InputError: The second is a multiple of the first, up to rounding.
    """
    x = first.double() / first.double().norm()
    rest = second.double()
    length = rest.norm()
    for _ in range(2):
        rest = rest - (x @ rest) * x
    if float(rest.norm()) <= 1e-6 * float(length):
        raise InputError("the points lie on one line, which is in many planes; give a point off that line")
    return x, rest / rest.norm()


def located(origin: Tensor, x: Tensor, y: Tensor | None, waypoints: Sequence[Waypoint]) -> Landmarks:
    """The waypoints in the coordinates of the plane through ``origin``, with their distances from it."""
    basis = torch.stack([v.double() for v in (x, y) if v is not None])
    coordinates, distances = [], []
    for waypoint in waypoints:
        offset = waypoint.point.to(origin.device).double() - origin.double()
        found = torch.linalg.solve(basis @ basis.T, basis @ offset)
        coordinates.append(found.tolist())
        distances.append(float((offset - found @ basis).norm()))
    return Landmarks(np.array(coordinates), np.array(distances), tuple(w.label for w in waypoints))


def around(marks: Landmarks, margin: float) -> tuple[Interval, Interval]:
    """The rectangle around landmarks, wider by the fraction ``margin`` of its size on every side.

    Raises:
        UsageError: A margin that is negative, not a number, or beyond what floating point can draw.
    """
    if not 0 <= margin <= 1e6:
        raise UsageError(
            f"margin={margin} is not allowed; it is a fraction of the distance shown, from 0 to 1e6"
        )
    low, high = marks.coordinates.min(axis=0), marks.coordinates.max(axis=0)
    size = high - low
    # Where all are on the first axis, as much is shown beside it.
    flat = size <= 1e-9 * size.max()
    low, high = np.where(flat, low - size.max() / 2, low), np.where(flat, high + size.max() / 2, high)
    pad = margin * (high - low)
    (a, c), (b, d) = (low - pad).tolist(), (high + pad).tolist()
    return (a, b), (c, d)
