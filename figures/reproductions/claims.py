"""A paper's claim beside our numbers, and the rule by which it is said to hold.

The rule is the same for all: differences are paired by seed, and a claim holds where the 95 % interval of their mean
(Student's t) has the sign that was claimed. Where it has the other sign the claim does not hold at this size; where it
contains zero nothing is shown with so many seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from landscape.comparison import Cell, Interval, mean_interval, paired_difference, verdict

Judgement = Literal["holds", "does not hold", "not shown"]
Values = Sequence[float]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """One row of RESULTS.md.

    Attributes:
        text: What is claimed.
        paper: The paper's own figure.
        ours: Ours, with its doubt.
        judgement: What they allow to say.
    """

    text: str
    paper: str
    ours: str
    judgement: Judgement


def ordered(text: str, paper: str, less: tuple[str, Values], more: tuple[str, Values]) -> Claim:
    """That one row is below another in a measure.

    Args:
        text: What is claimed.
        paper: The paper's figure.
        less: Name and values, one a seed, of the row that is claimed to have less.
        more: The same of the row that is claimed to have more, with the same seeds.
    """
    seeds = tuple(range(len(less[1])))
    cells = [Cell(tuple(values), seeds=seeds) for _, values in (less, more)]
    difference = paired_difference(*cells)
    found: Judgement = "not shown"
    kind = verdict(difference).kind
    if kind in ("lower", "higher"):
        found = "holds" if kind == "lower" else "does not hold"
    means = ", ".join(f"{name} {spread(values)}" for name, values in (less, more))
    apart = f"{_quoted(less[0])} − {_quoted(more[0])}: {interval(difference.interval)}"
    return Claim(text, paper, f"{means}; {apart}", found)


def signed(text: str, paper: str, name: str, values: Values, sign: Literal["positive", "negative"]) -> Claim:
    """That a number, one a seed, is above or below zero.

    Args:
        text: What is claimed.
        paper: The paper's figure.
        name: Of the number.
        values: One a seed.
        sign: What is claimed of it.
    """
    found = mean_interval(values)
    judgement: Judgement = "not shown"
    if found.excludes_zero and found.n >= 3:
        judgement = "holds" if (found.mean > 0) == (sign == "positive") else "does not hold"
    return Claim(text, paper, f"{name} {interval(found)}", judgement)


def close_to(text: str, paper: str, name: str, values: Values, *, target: float, within: float) -> Claim:
    """That a number is about another: the whole interval is no farther from it than ``within``.

    Args:
        text: What is claimed.
        paper: The paper's figure.
        name: Of the number.
        values: One a seed.
        target: What it is claimed to be.
        within: How far from that it may be.
    """
    found = mean_interval(values)
    judgement: Judgement = "not shown"
    if target - within <= found.low and found.high <= target + within:
        judgement = "holds"
    elif found.low > target + within or found.high < target - within:
        judgement = "does not hold"
    return Claim(text, paper, f"{name} {interval(found)} (asked: {target:g} ± {within:g})", judgement)


def counted(text: str, paper: str, ours: str, *, holds: bool) -> Claim:
    """A claim that is true or false of the numbers at hand, without any sampling.

    Args:
        text: What is claimed.
        paper: The paper's figure.
        ours: What was found.
        holds: Whether that is what was claimed.
    """
    return Claim(text, paper, ours, "holds" if holds else "does not hold")


def spread(values: Values) -> str:
    """Mean ± standard deviation over seeds."""
    found = mean_interval(values)
    return f"{digits(found.mean)} ± {digits(found.spread, 2)}" if found.n > 1 else digits(found.mean)


def interval(found: Interval) -> str:
    """Mean and 95 % interval."""
    return f"{digits(found.mean)} [{digits(found.low)}, {digits(found.high)}]"


def digits(value: float, count: int = 3) -> str:
    """A number with so many digits, without an exponent where it can be read so."""
    if value != value:
        return "–"
    value = 0.0 if abs(value) < 1e-12 else value
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        places = max(0, count - 1 - _exponent(value))
        return f"{value:.{places}f}".replace("-", "−")
    return f"{value:.{count - 1}e}".replace("-", "−")


def _quoted(name: str) -> str:
    return f"({name})" if "," in name else name


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2]) if value else 0
