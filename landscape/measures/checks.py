"""Options that several measures share, checked at the door."""

import math

from landscape.errors import UsageError


def positive(**options: float) -> None:
    """Raises :class:`UsageError` unless every option is a finite number above zero."""
    for name, value in options.items():
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name}={value} is not allowed: it must be a finite number above 0")
