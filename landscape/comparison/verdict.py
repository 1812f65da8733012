"""What a difference allows to say, in plain words; most of all when it allows nothing."""

from dataclasses import dataclass
from typing import Literal

from landscape.comparison.intervals import FEWEST, seeds_needed
from landscape.comparison.paired import Difference

Kind = Literal["lower", "higher", "undecided", "too few", "equal", "sampling", "undefined"]


@dataclass(frozen=True)
class Verdict:
    """A judgement: ``lower`` or ``higher`` where the interval excludes zero and may be believed.

    Attributes:
        kind: For programs.
        words: For people.
    """

    kind: Kind
    words: str

    @property
    def is_decided(self) -> bool:
        """Whether the rows are told apart."""
        return self.kind in ("lower", "higher")


def verdict(difference: Difference) -> Verdict:
    """What a paired difference says.

    It is decided where the 95 % interval excludes zero, there are seeds enough for such an interval, they are not
    all equal, and the difference is more than twice what sampling within the runs explains.
    """
    interval, n = difference.interval, difference.interval.n
    if n == 0:
        return Verdict("undefined", "no seed in common")
    if interval.mean != interval.mean:
        return Verdict("undefined", "not finite in a run")
    if n == 1:
        return Verdict("too few", "one seed: no verdict")
    if interval.is_degenerate:
        same = "no difference at any seed" if interval.mean == 0 else f"equal at all {n} seeds: no verdict"
        return Verdict("equal", same)
    fewest = FEWEST[difference.method]
    if n < fewest:
        return Verdict("too few", f"{n} seeds are too few, take {fewest} or more")
    if not interval.excludes_zero:
        return Verdict("undecided", f"not told apart; {_enough(difference)}")
    if difference.monte_carlo is not None and abs(interval.mean) <= 2 * difference.monte_carlo:
        return Verdict(
            "sampling", f"within twice the sampling error {difference.monte_carlo:.2g}: more probes"
        )
    kind: Kind = "lower" if interval.mean < 0 else "higher"
    return Verdict(kind, kind)


def _enough(difference: Difference) -> str:
    """How many seeds the difference would take, were it as large and spread as it looks."""
    interval = difference.interval
    needed = seeds_needed(interval.mean, interval.spread)
    if needed is None:
        return "over 1000 seeds needed"
    return f"about {max(needed, interval.n + 1)} seeds needed"
