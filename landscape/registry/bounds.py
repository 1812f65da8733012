"""Bounds of numbers, stated in the annotation of a parameter and checked before anything is computed."""

import dataclasses
import math
import numbers
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from landscape.errors import UsageError


@dataclass(frozen=True, repr=False)
class Real:
    """An interval of finite numbers, for ``Annotated[float, Real(0)]``; an open end is not allowed itself."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    optional: bool = False

    def __repr__(self) -> str:
        lower = "" if self.low == -math.inf else f" {'above' if self.open_low else '≥'} {self.low:g}"
        upper = "" if self.high == math.inf else f" and {'<' if self.open_high else '≤'} {self.high:g}"
        return f"a finite number{lower}{upper}"

    def check(self, name: str, value: Any, owner: str = "") -> Any:
        """The value as a float; raises :class:`UsageError` if it is not in the interval."""
        if value is None and self.optional:
            return None
        try:
            number = math.nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        above = self.low < number if self.open_low else self.low <= number
        below = number < self.high if self.open_high else number <= self.high
        if not (math.isfinite(number) and above and below):
            raise _refusal(owner, name, value, f"{name} must be {self}")
        # Formulas divide by squares of positive numbers, which beyond these sizes leave double precision.
        if self.open_low and not 1e-100 <= abs(number) <= 1e100:
            raise _refusal(owner, name, value, f"{name} must be from 1e-100 to 1e+100 in size")
        return number


@dataclass(frozen=True, repr=False)
class Integer:
    """An interval of whole numbers, both ends included, for ``Annotated[int, Integer(1)]``."""

    low: int
    high: int = 2**31 - 1  # what a C int counts to: torch takes no larger sizes and numbers of steps
    words: str = ""
    optional: bool = False
    truncates: bool = False  # for a quotient such as the steps of an epoch, 50,000 / 128

    def __repr__(self) -> str:
        lower = f"above {self.low - 1}" if self.low else "≥ 0"
        return f"a whole number {self.words or f'{lower} and below 2³¹'}"

    def check(self, name: str, value: Any, owner: str = "") -> Any:
        """The value; raises :class:`UsageError` if it is not a whole number of the interval."""
        if value is None and self.optional:
            return None
        if self.truncates and isinstance(value, float) and math.isfinite(value):
            value = math.floor(value)
        # Python counts booleans among the whole numbers; a user who writes one means something else.
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_whole or not self.low <= value <= self.high:
            raise _refusal(owner, name, value, f"{name} must be {self}")
        return int(value)


@dataclass(frozen=True, repr=False)
class OneOf:
    """The values of a ``Literal``."""

    values: tuple[Any, ...]

    def check(self, name: str, value: Any, owner: str = "") -> Any:
        """The value; raises :class:`UsageError` if it is none of the values."""
        if value not in self.values:
            raise _refusal(owner, name, value, f"{name} must be one of {', '.join(map(str, self.values))}")
        return value


Limit = Real | Integer | OneOf
"""The rule for the value of a parameter. Its ``check`` returns the value, and starts a refusal with ``owner``."""

LARGEST_SEED = 2**63 - 1  # the largest number that every random generator takes

NonNegative = Annotated[float, Real(0)]
Positive = Annotated[float, Real(0, open_low=True)]
Finite = Annotated[float, Real()]
Share = Annotated[float, Real(0, 1)]
PositiveShare = Annotated[float, Real(0, 1, open_low=True)]
ShareBelowOne = Annotated[float, Real(0, 1, open_high=True)]
NonNegativeInt = Annotated[int, Integer(0)]
PositiveInt = Annotated[int, Integer(1)]
Count = Annotated[int, Integer(1, truncates=True)]
NonNegativeCount = Annotated[int, Integer(0, truncates=True)]
Seed = Annotated[int, Integer(0, LARGEST_SEED, "from 0 to 2⁶³ − 1")]


def limit_of(annotation: Any) -> Limit | None:
    """The bounds that an annotation states, also inside ``… | None``; ``None`` if it states none."""
    if typing.get_origin(annotation) is Literal:
        return OneOf(typing.get_args(annotation))
    parts = typing.get_args(annotation)
    for part in (annotation, *parts):
        for item in getattr(part, "__metadata__", ()):
            if isinstance(item, (Real, Integer)):
                return dataclasses.replace(item, optional=type(None) in parts)
            if isinstance(item, OneOf):
                return item
    return None


def bounds(function: Callable[..., object]) -> dict[str, Limit]:
    """The bounds of the parameters of a function whose annotations state any."""
    hints = typing.get_type_hints(function, include_extras=True)
    limits = {name: limit_of(hint) for name, hint in hints.items() if name != "return"}
    return {name: limit for name, limit in limits.items() if limit is not None}


_ENORMOUS = {int: (2**31 - 1, "2³¹"), float: (1e30, "1e30")}


def refuse_enormous(name: str, value: object, owner: str = "") -> None:
    """Raises :class:`UsageError` for a number that neither single precision nor a loop could take.

    Infinity passes: where it is allowed it means that there is no limit.
    """
    limit, words = _ENORMOUS.get(type(value), (math.inf, ""))
    if limit < abs(typing.cast(float, value) if words else 0.0) < math.inf:
        raise _refusal(owner, name, value, f"{name} must be below {words} in size")


def shown(value: object) -> str:
    """A value as a message can quote it: on one line of at most 80 characters."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"{'-' if value < 0 else ''}10^30 and more"  # Python refuses to write more than 4,300 digits
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def is_writable(text: str) -> bool:
    """Whether text can be written to a file and can name one: it has no NUL and no unpaired surrogate."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _refusal(owner: str, name: str, value: object, rule: str) -> UsageError:
    return UsageError(f"{f'{owner}: ' if owner else ''}{name}={shown(value)} is not allowed: {rule}")
