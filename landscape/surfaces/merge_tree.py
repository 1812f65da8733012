"""The merge tree of a sampled surface: its basins, where they join, and how deep they are, on the saved grid.

As a level rises, the points below it form components. One is born at a minimum, and of two that meet at a saddle the
one with the higher minimum ends there. A grid knows a height only as well as the loss is the same at neighbouring
points, which is the doubt of every number here.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape.errors import InputError, UsageError
from landscape.records.surface import Surface
from landscape.tables.grid import Grid

Place = tuple[int, int]
"""Row and column of a point."""

Neighbours = Literal[8, 6]

_HALF = {8: ((0, 1), (1, 0), (1, 1), (1, -1)), 6: ((0, 1), (1, 0), (1, 1))}
"""Half of the steps to the neighbours of a point; the others are opposite."""

MOST_ROWS = 20
"""More basins are counted below the table."""


@dataclass(frozen=True)
class Basin:
    """A component of the points below a level, from its minimum to the saddle at which it joins a deeper one.

    Attributes:
        minimum: Its lowest point.
        birth: The loss there.
        saddle: The lowest point from which a deeper basin is reached without climbing further; ``None`` if none is.
        death: The loss there; infinite if there is no such point.
        into: The number of the basin that it joins; ``None`` likewise.
        points: How many points of the grid it has below the saddle.
        depth: ``death − birth``, its persistence; up to the highest loss of the grid where ``death`` is infinite.
        doubt: The largest difference between the loss at the minimum or the saddle and at a point beside it.
        is_open: Whether the minimum is at the edge of the grid, or beside a point without a finite loss, so that the
            loss may be lower beyond.
    """

    minimum: Place
    birth: float
    saddle: Place | None
    death: float
    into: int | None
    points: int
    depth: float
    doubt: float
    is_open: bool

    @property
    def is_resolved(self) -> bool:
        """Whether the basin is deeper than the grid's resolution; one of a single point never is."""
        return self.depth > self.doubt


@dataclass(frozen=True)
class MergeTree:
    """The basins of a grid, the deepest first.

    Attributes:
        basins: The basins; their ``into`` counts from 0 in this order.
        neighbours: To how many points beside it a point of a plane is joined.
        highest: The highest finite loss.
        left_out: The number of points without a finite loss, which no component contains.
    """

    basins: tuple[Basin, ...]
    neighbours: int
    highest: float
    left_out: int

    @property
    def unresolved(self) -> int:
        """The number of basins that are not deeper than the grid's resolution."""
        return sum(not basin.is_resolved for basin in self.basins)


def merge_tree(loss: ArrayLike, *, neighbours: Neighbours = 8) -> MergeTree:
    """The merge tree of the sublevel sets ``{L ≤ c}`` on a grid, with the persistence of their components.

    By union–find over the points in the order of their losses. A plateau is one minimum; basins of depth 0 are left
    out.

    Args:
        loss: ``(ny, nx)``, or ``(n,)`` on a line. Points that are infinite or NaN belong to nothing.
        neighbours: Points are joined to the 8 around them, or to the 6 of a triangulation whose diagonals run from
            the lower left to the upper right; on a line to the 2 beside them.

    Raises:
        InputError: No loss is finite.
        UsageError: Another number of neighbours, or of dimensions.

    Reference:
        Edelsbrunner, Letscher and Zomorodian, "Topological persistence and simplification", 2002, for dimension 0.
    """
    values = np.atleast_2d(np.asarray(loss, np.float64))
    if neighbours not in _HALF or values.ndim != 2:
        raise UsageError(f"neighbours={neighbours!r} on a grid {values.shape}: 8 or 6, on (ny, nx) or (n,)")
    finite = np.isfinite(values)
    if not finite.any():
        raise InputError(
            "no loss of the surface is finite, so that it has no basins; draw it with --kind filled"
        )
    found = _Components(values, finite, neighbours).merged()
    # Of equals, one that is joined comes before those that join it, which were found earlier.
    order = sorted(range(len(found)), key=lambda k: (found[k].birth - found[k].death, found[k].birth, -k))
    number = {old: new for new, old in enumerate(order)}
    basins = [dataclasses.replace(found[k], into=number.get(found[k].into)) for k in order]  # type: ignore[arg-type]
    return MergeTree(tuple(basins), neighbours, float(values[finite].max()), int((~finite).sum()))


def tree_of(surface: Surface) -> MergeTree:
    """The merge tree of a surface's loss; points that were not computed are left out."""
    return merge_tree(np.where(surface.computed, surface.loss, np.nan))


class _Components:
    """Union–find over the points of a grid, in the order of their losses."""

    def __init__(self, values: NDArray[np.float64], finite: NDArray[np.bool_], neighbours: int) -> None:
        self.height, self.width = values.shape
        self.loss: list[float] = values.ravel().tolist()
        self.finite: list[bool] = finite.ravel().tolist()
        steps = _HALF[neighbours]
        self.steps = (*steps, *((-down, -right) for down, right in steps))
        # Stable, so that of equal losses the first point comes first on every machine.
        self.order = [int(k) for k in np.argsort(values, axis=None, kind="stable") if self.finite[k]]
        self.root = [-1] * len(self.loss)  # of points that are not below the level yet
        self.size = [0] * len(self.loss)
        self.highest = self.loss[self.order[-1]]

    def merged(self) -> list[Basin]:
        """The basins, each ``into`` another by its place in this list."""
        basins: list[tuple[int, int | None, int, int]] = []  # minimum, saddle, root of the other, points
        for point in self.order:
            roots = {self._find(other) for other in self._beside(point) if self.root[other] >= 0}
            eldest = min(roots, key=self._age, default=point)
            self.root[point] = eldest
            for root in sorted(roots - {eldest}, key=self._age):
                if self.loss[root] < self.loss[point]:
                    basins.append((root, point, eldest, self.size[root]))
                self.root[root] = eldest
                self.size[eldest] += self.size[root]
            self.size[eldest] += 1
        last = dict.fromkeys(map(self._find, self.order))
        basins += [(root, None, -1, self.size[root]) for root in last]
        number = {minimum: k for k, (minimum, *_) in enumerate(basins)}
        return [self._basin(*basin, number=number) for basin in basins]

    def _basin(
        self, minimum: int, saddle: int | None, into: int, points: int, *, number: dict[int, int]
    ) -> Basin:
        birth = self.loss[minimum]
        death = math.inf if saddle is None else self.loss[saddle]
        doubts = [self._doubt(point) for point in (minimum, saddle) if point is not None]
        row, column = divmod(minimum, self.width)
        beside = list(self._beside(minimum))
        whole = 2 if self.height == 1 else len(self.steps)
        return Basin(
            minimum=(row, column),
            birth=birth,
            saddle=None if saddle is None else (saddle // self.width, saddle % self.width),
            death=death,
            into=None if saddle is None else number[into],
            points=points,
            depth=(self.highest if saddle is None else death) - birth,
            doubt=max(doubts),
            is_open=len(beside) < whole,
        )

    def _age(self, root: int) -> tuple[float, int]:
        return self.loss[root], root

    def _doubt(self, point: int) -> float:
        return max(
            (abs(self.loss[other] - self.loss[point]) for other in self._beside(point)), default=math.inf
        )

    def _beside(self, point: int) -> Iterator[int]:
        """The neighbours of a point that have a finite loss."""
        row, column = divmod(point, self.width)
        for down, right in self.steps:
            if 0 <= row + down < self.height and 0 <= column + right < self.width:
                other = point + down * self.width + right
                if self.finite[other]:
                    yield other

    def _find(self, point: int) -> int:
        root = point
        while self.root[root] != root:
            root = self.root[root]
        while self.root[point] != root:  # shorter for the next time
            self.root[point], point = root, self.root[point]
        return root


def basin_table(surface: Surface, tree: MergeTree) -> Grid:
    """The basins with their places, heights, depth and doubt, a row each, and what is to be known of them below."""
    rows = []
    for number, basin in enumerate(tree.basins[:MOST_ROWS], start=1):
        row, column = basin.minimum
        place = [surface.x[column]] if surface.is_line else [surface.x[column], surface.y[row]]
        remarks = [
            text for text, holds in (("unresolved", not basin.is_resolved), ("open", basin.is_open)) if holds
        ]
        rows.append(
            [
                str(number),
                *(f"{value:.3g}" for value in place),
                f"{basin.birth:.4g}",
                "–" if basin.saddle is None else f"{basin.death:.4g}",
                f"{basin.depth:.3g} ± {basin.doubt:.2g}",
                str(basin.points),
                "–" if basin.into is None else str(basin.into + 1),
                ", ".join(remarks),
            ]
        )
    axes = ["x"] if surface.is_line else ["x", "y"]
    head = ["basin", *axes, "minimum", "saddle", "depth", "points", "joins", ""]
    return Grid(head, rows, notes=[*basin_notes(surface, tree)])


def basin_notes(surface: Surface, tree: MergeTree) -> Sequence[str]:
    """Sentences about what the numbers mean and how far the grid carries them."""
    joined = "both points beside it" if surface.is_line else f"the {tree.neighbours} points around it"
    notes = [
        f"Each point of the grid is joined to {joined}. The depth is from the minimum to the saddle at which a basin "
        "joins a deeper one, and of one that joins none to the highest loss of the grid; ± is the largest difference "
        "of the loss between the minimum or the saddle and a point beside it."
    ]
    if len(tree.basins) > MOST_ROWS:
        notes.append(f"{len(tree.basins) - MOST_ROWS} shallower basins are not listed.")
    if tree.unresolved:
        every = len(tree.basins)
        which = f"{tree.unresolved} of {every} basins are" if every > 1 else "The basin is"
        notes.append(
            f"{which} unresolved, no deeper than the loss differs between neighbouring points: the grid is too coarse "
            "to tell. Compute more points (--points) or a smaller part (--span)."
        )
    if any(basin.is_open for basin in tree.basins):
        notes.append(
            "Open: the minimum is at the edge, or beside a point left out; the loss may be lower beyond."
        )
    if tree.left_out:
        notes.append(f"{tree.left_out} points without a finite loss are left out.")
    return notes
