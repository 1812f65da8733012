"""The barriers between all pairs of some networks, as they are and aligned: one number a pair, a matrix over seeds."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from landscape.alignment import align as aligned_to
from landscape.errors import InputError, UsageError
from landscape.objective import Objective
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.sampling import sample_surface
from landscape.tables import Grid

Barriers = Mapping[str, Mapping[str, float]]
"""By loss, ``"loss"`` and ``"test_loss"``: the ``height`` and the place ``at``; see :func:`barrier`."""


@dataclass(frozen=True)
class Pair:
    """The line between two networks.

    Attributes:
        first: The name of one, to which the other is aligned.
        second: The name of the other.
        barriers: Those of the line between them as they are.
        distance: The distance of their weights.
        aligned: The same after alignment; ``None`` if that was not asked for.
        aligned_distance: Likewise.
    """

    first: str
    second: str
    barriers: Barriers
    distance: float
    aligned: Barriers | None = None
    aligned_distance: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The fields, for JSON."""
        return {name: value for name, value in vars(self).items() if value is not None}


def barriers_between(
    objectives: Mapping[str, Objective],
    *,
    tests: Mapping[str, Objective] | None = None,
    points: int = 11,
    align: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pair, ...]:
    """The barriers on the straight lines between every two of some networks.

    Args:
        objectives: The networks on the same data, by name.
        tests: The same on test data.
        points: Points of a line, its ends included.
        align: Also align the second network of each pair to the first, by weight matching.
        progress: Called as ``progress(done, total)`` after each pair.

    Returns:
        A pair for every two, in the order of the names.

    Raises:
        UsageError: Fewer than two networks, or three points.
        InputError: Two networks are different ones, the same point, or cannot be aligned; or they differ in something
            that no line moves, such as a frozen weight.

    Reference:
        Entezari et al. 2022, arXiv:2110.06296, and Ainsworth et al. 2023, arXiv:2209.04836, for barriers modulo
        permutations.
    """
    if len(objectives) < 2 or points < 3:
        raise UsageError(
            f"{len(objectives)} networks and {points} points a line: give at least two networks, and three points"
        )
    pairs = list(itertools.combinations(objectives, 2))
    found = []
    for done, (first, second) in enumerate(pairs):
        one, other = objectives[first], objectives[second]
        test, other_test = (None, None) if tests is None else (tests[first], tests[second])
        start = Waypoint.of(first, one, test=test)
        heights, distance = _line(
            one, test, start, Waypoint.of(second, other, test=other_test, origin=one), points
        )
        pair = Pair(first, second, heights, distance)
        if align:
            alignment = aligned_to(one, other)
            there = other_test and other_test.of(alignment.network)
            end = Waypoint.of(f"{second}, aligned", alignment.objective, test=there, origin=one)
            pair = Pair(first, second, heights, distance, *_line(one, test, start, end, points))
        found.append(pair)
        if progress is not None:
            progress(done + 1, len(pairs))
    return tuple(found)


def _line(
    objective: Objective, test: Objective | None, start: Waypoint, end: Waypoint, points: int
) -> tuple[Barriers, float]:
    """The barriers between two networks, and their distance."""
    if torch.equal(start.point, end.point) and end.label.endswith(", aligned"):  # copies of one network
        return {name: {"height": 0.0, "at": 0.0} for name in start.own}, 0.0
    surface = sample_surface(
        objective, "interpolation", points=points, through=[start, end], test=test, compile=False
    )
    if "barrier" not in surface.meta:
        raise InputError(
            f"no barrier between {start.label} and {end.label}: {surface.meta.get('disagreement')}"
        )
    plane: Any = surface.meta["plane"]
    heights: Any = surface.meta["barrier"]
    return heights, plane["norms"][0]


def barrier_grid(pairs: Sequence[Pair], loss: str) -> Grid:
    """The matrix of the heights for one loss: above the diagonal aligned, if they are, and below as they are."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    cells = {}
    for pair in pairs:
        after = pair.barriers if pair.aligned is None else pair.aligned
        cells[pair.second, pair.first] = pair.barriers[loss]["height"]
        cells[pair.first, pair.second] = after[loss]["height"]
    rows = [[row, *(f"{cells[row, name]:.4g}" if row != name else "–" for name in names)] for row in names]
    notes = [f"Means over {len(pairs)} pairs: {_mean(pairs, loss, aligned=False)} as they are."]
    if pairs[0].aligned is not None:
        notes = [
            "Above the diagonal: the network of the column aligned to that of the row by weight matching; below it: "
            "as they are.",
            f"{notes[0][:-1]}, {_mean(pairs, loss, aligned=True)} aligned.",
        ]
    return Grid([f"barrier of {loss.replace('_', ' ')}", *names], rows, notes=notes)


def _mean(pairs: Sequence[Pair], loss: str, *, aligned: bool) -> str:
    every = [(pair.aligned if aligned else pair.barriers) or {} for pair in pairs]
    distances = [(pair.aligned_distance if aligned else pair.distance) or 0.0 for pair in pairs]
    height = sum(each[loss]["height"] for each in every) / len(pairs)
    return f"barrier {height:.4g} at distance {sum(distances) / len(pairs):.4g}"


def barrier_rows(pairs: Sequence[Pair]) -> Grid:
    """A row for each pair and loss, for a file of comma-separated values."""
    head = [
        "first",
        "second",
        "loss",
        "barrier",
        "at",
        "distance",
        "aligned_barrier",
        "aligned_at",
        "aligned_distance",
    ]
    rows = []
    for pair in pairs:
        for loss, barrier in pair.barriers.items():
            own = [barrier["height"], barrier["at"], pair.distance]
            after: list[float | None] = [None, None, None]
            if pair.aligned is not None:
                after = [pair.aligned[loss]["height"], pair.aligned[loss]["at"], pair.aligned_distance]
            rows.append([pair.first, pair.second, loss, *own, *after])
    return Grid(head, rows)
