"""The value of ``--batch-size``."""

from typing import Any, Literal

import click

Sizes = tuple[int, Literal["auto"] | None]


class BatchSize(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number above 0, or ``auto``; the value is batch size and micro-batch."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sizes:
        """The pair from its text."""
        if isinstance(value, tuple):
            return value
        if value == "auto":
            return 128, "auto"
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a whole number nor auto", param, ctx)
        if number < 1:
            self.fail(f"{number} is not in the range x>=1.", param, ctx)
        return number, None
