"""The door check of hyper-parameters: a number outside its range is answered with the range."""

import math

from landscape.errors import UsageError


def within(
    name: str,
    value: float,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """The value as a finite float, if ``low ≤ value ≤ high`` (with ``<`` at an open end).

    Args:
        name: What the user calls the number.
        value: What was given.
        low: The smallest allowed value.
        high: The largest allowed value.
        open_low: Whether ``low`` itself is refused.
        open_high: Whether ``high`` itself is refused.

    Raises:
        UsageError: The value is outside the range or not a finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    above = low < number if open_low else low <= number
    below = number < high if open_high else number <= high
    if math.isfinite(number) and above and below:
        return number
    lower = "" if low == -math.inf else f" {'>' if open_low else '≥'} {low:g}"
    upper = "" if high == math.inf else f" and {'<' if open_high else '≤'} {high:g}"
    raise UsageError(f"{name}={value!r} is not allowed: {name} must be a finite number{lower}{upper}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """The value, if it is one of the allowed words.

    Raises:
        UsageError: It is not; the message lists the words.
    """
    if value not in allowed:
        raise UsageError(f"{name}={value!r} is not allowed: {name} must be one of {', '.join(allowed)}")
    return value


def whole(name: str, value: int, low: int) -> int:
    """The value, if it is a whole number of at least ``low``.

    Raises:
        UsageError: It is not.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= low:
        return value
    raise UsageError(f"{name}={value!r} is not allowed: {name} must be a whole number ≥ {low}")
