"""The difference of two rows in one measure, paired by seed: what the seed decides cancels."""

import math
from dataclasses import dataclass

from landscape.comparison.cell import Cell
from landscape.comparison.intervals import Interval, Method, mean_interval


@dataclass(frozen=True)
class Difference:
    """One row minus another, over the seeds that both have.

    Attributes:
        values: The difference at each of the seeds.
        seeds: Which these are.
        interval: Of their mean.
        method: How it was made.
        monte_carlo: Standard error of the mean from sampling within the runs alone; ``None`` where all is exact.
        converged: Whether all numbers did.
    """

    values: tuple[float, ...]
    seeds: tuple[object, ...]
    interval: Interval
    method: Method
    monte_carlo: float | None
    converged: bool


def paired_difference(ours: Cell, theirs: Cell, *, method: Method = "t") -> Difference:
    """``ours − theirs`` at each seed that both have, with a 95 % interval of the mean.

    Args:
        ours: A row's values of a measure.
        theirs: Another row's of the same.
        method: See :func:`landscape.comparison.intervals.mean_interval`.
    """
    first, second = _by_seed(ours), _by_seed(theirs)
    common = tuple(seed for seed in first if seed in second)
    values = tuple(first[seed][0] - second[seed][0] for seed in common)
    errors = [e for seed in common for e in (first[seed][1], second[seed][1]) if e is not None]
    return Difference(
        values=values,
        seeds=common,
        interval=mean_interval(values, method=method),
        method=method,
        monte_carlo=math.hypot(*errors) / len(common) if errors else None,
        converged=ours.converged and theirs.converged,
    )


def _by_seed(cell: Cell) -> dict[object, tuple[float, float | None]]:
    errors = cell.errors or (None,) * len(cell.values)
    return dict(zip(cell.seeds, zip(cell.values, errors, strict=True), strict=False))
