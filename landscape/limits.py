"""What a number must be above, said in the annotation of the parameter: looked at before anything is computed."""

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from landscape.errors import UsageError


@dataclass(frozen=True)
class Above:
    """What a number must be above, for ``Annotated[float, Above(0)]``: looked at before anything is computed."""

    least: float

    def check(self, name: str, value: object, owner: str = "") -> None:
        """Raises :class:`UsageError` unless the value is a finite number above the least; ``None`` passes."""
        if value is None:
            return
        if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > self.least):
            prefix = f"{owner}: " if owner else ""
            raise UsageError(
                f"{prefix}{name}={value} is not allowed: it must be a finite number above {self.least:g}"
            )


Positive = Annotated[float, Above(0)]
"""A finite number above 0."""

PositiveInt = Annotated[int, Above(0)]
"""A whole number above 0."""


def bounds(function: Callable[..., object]) -> dict[str, Above]:
    """The parameters of a function whose annotation says what they must be above."""
    hints = typing.get_type_hints(function, include_extras=True)
    return {
        name: one
        for name, hint in hints.items()
        for one in getattr(hint, "__metadata__", ())
        if isinstance(one, Above)
    }
