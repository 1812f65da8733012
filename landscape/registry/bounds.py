"""What a number must be, said in the annotation of the parameter: looked at before anything is computed."""

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from landscape.errors import UsageError


class Limit(Protocol):
    """A rule for a number."""

    def check(self, name: str, value: object, owner: str = "") -> None:
        """Raises :class:`UsageError` unless the value keeps the rule; ``None`` passes."""


_TINY = 1e-100


@dataclass(frozen=True)
class Above:
    """What a number must be above, for ``Annotated[float, Above(0)]``: looked at before anything is computed.

    Numbers whose square would leave double precision are refused, too: nobody means them, and formulas have squares.
    """

    least: float

    def check(self, name: str, value: object, owner: str = "") -> None:
        """Raises :class:`UsageError` unless the value is a finite number above the least; ``None`` passes."""
        if value is None:
            return
        prefix = f"{owner}: " if owner else ""
        if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > self.least):
            raise UsageError(
                f"{prefix}{name}={value} is not allowed: it must be a finite number above {self.least:g}"
            )
        if not _TINY <= abs(value) <= 1 / _TINY:
            raise UsageError(
                f"{prefix}{name}={value} is not allowed: it must be from {_TINY:g} to {1 / _TINY:g}"
            )


@dataclass(frozen=True)
class Whole:
    """Between which whole numbers one must be, both ends included."""

    least: int
    most: int
    words: str

    def check(self, name: str, value: object, owner: str = "") -> None:
        """Raises :class:`UsageError` unless the value is such a whole number; ``None`` passes."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is None or (whole and self.least <= typing.cast(int, value) <= self.most):
            return
        prefix = f"{owner}: " if owner else ""
        raise UsageError(f"{prefix}{name}={value} is not allowed: it must be a whole number {self.words}")


Positive = Annotated[float, Above(0)]
"""A finite number above 0."""

PositiveInt = Annotated[int, Whole(1, 2**31 - 1, "above 0 and below 2³¹")]
"""A whole number above 0, of a size that something can be counted to."""


LARGEST_SEED = 2**63 - 1
"""The largest number that every random generator takes."""

Seed = Annotated[int, Whole(0, LARGEST_SEED, "from 0 to 2⁶³ − 1")]
"""What a random generator starts from."""


_MOST = {int: (2**31 - 1, "2³¹"), float: (1e30, "1e30")}


def refuse_enormous(name: str, value: object, owner: str = "") -> None:
    """Raises :class:`UsageError` for a number that neither single precision nor a loop could take.

    Infinity passes: where it is allowed it means that there is no limit.
    """
    most, words = _MOST.get(type(value), (math.inf, ""))
    if most < abs(typing.cast(float, value) if words else 0.0) < math.inf:
        prefix = f"{owner}: " if owner else ""
        raise UsageError(f"{prefix}{name}={shown(value)} is not allowed: it must be below {words} in size")


def shown(value: object) -> str:
    """A value as a message may have it: on one line, not too long, whatever it is."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"{'-' if value < 0 else ''}10^30 and more"  # Python writes no more than 4,300 digits
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def is_writable(text: str) -> bool:
    """Whether text can be written to a file and name one: it has no NUL, and no half of a character."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def bounds(function: Callable[..., object]) -> dict[str, Limit]:
    """The parameters of a function whose annotation says what they must be."""
    hints = typing.get_type_hints(function, include_extras=True)
    return {
        name: one
        for name, hint in hints.items()
        for one in getattr(hint, "__metadata__", ())
        if isinstance(one, (Above, Whole))
    }
