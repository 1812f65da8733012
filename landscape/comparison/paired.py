"""The difference of two rows in one measure, paired by seed, and the verdict that it supports."""

import math
from dataclasses import dataclass
from typing import Literal

from landscape.comparison.cell import Cell
from landscape.comparison.intervals import FEWEST, Interval, Method, mean_interval, seeds_needed


@dataclass(frozen=True)
class Difference:
    """One row minus another at each seed that both have, so that what the seed decides cancels.

    ``monte_carlo`` is the standard error of the mean from sampling within the runs, ``None`` if nothing is sampled.
    """

    values: tuple[float, ...]
    seeds: tuple[object, ...]
    interval: Interval
    method: Method
    monte_carlo: float | None
    converged: bool


_SAME = "no difference at any seed"
_MARKS = {"lower": "↓", "higher": "↑", "undecided": "≈"}
Kind = Literal["lower", "higher", "undecided", "too few", "equal", "sampling", "undefined"]


@dataclass(frozen=True)
class Verdict:
    """A judgement of a difference: ``lower`` or ``higher`` if it is decided, otherwise the reason why not.

    ``seeds_needed`` is the number that would decide it, if it is undecided and the number is at most a thousand.
    """

    kind: Kind
    words: str
    seeds_needed: int | None = None

    @property
    def is_decided(self) -> bool:
        """Whether the rows differ."""
        return self.kind in ("lower", "higher")

    @property
    def mark(self) -> str:
        """A sign for it: ↓, ↑, ≈ if it is undecided, = if nothing differs, and ? if there is no verdict."""
        return "=" if self.words == _SAME else _MARKS.get(self.kind, "?")


def paired_difference(ours: Cell, theirs: Cell, *, method: Method = "t") -> Difference:
    """``ours − theirs`` at each seed that both have, with a 95 % interval of the mean.

    Args:
        ours: Values of one row.
        theirs: Values of another row, of the same measure.
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


def verdict(difference: Difference) -> Verdict:
    """The verdict that a paired difference supports.

    It is decided if the 95 % interval excludes zero, there are enough seeds for such an interval, they are not all
    equal, and the difference is more than twice its sampling error within the runs.
    """
    interval, n = difference.interval, difference.interval.n
    if n == 0:
        return Verdict("undefined", "no seed in common")
    if math.isnan(interval.mean):
        return Verdict("undefined", "not finite in a run")
    if n == 1:
        return Verdict("too few", "one seed: no verdict")
    if interval.is_degenerate:
        same = _SAME if interval.mean == 0 else f"equal at all {n} seeds: no verdict"
        return Verdict("equal", same)
    fewest = FEWEST[difference.method]
    if n < fewest:
        return Verdict("too few", f"{n} seeds are too few, take {fewest} or more")
    if not interval.excludes_zero:
        needed = seeds_needed(interval.mean, interval.spread)
        # Seeds for a power of 80 % can be fewer than there are, and still these did not decide.
        needed = None if needed is None else max(needed, n + 1)
        count = "over 1000" if needed is None else f"about {needed}"
        return Verdict("undecided", f"indistinguishable; {count} seeds needed", needed)
    error = difference.monte_carlo
    if error is not None and abs(interval.mean) <= 2 * error:
        return Verdict("sampling", f"within twice the sampling error {error:.2g}: more probes")
    kind: Kind = "lower" if interval.mean < 0 else "higher"
    return Verdict(kind, kind)


def _by_seed(cell: Cell) -> dict[object, tuple[float, float | None]]:
    errors = cell.errors or (None,) * len(cell.values)
    # Not strict: runs without seeds cannot be paired, and then there are none.
    return dict(zip(cell.seeds, zip(cell.values, errors, strict=True), strict=False))
