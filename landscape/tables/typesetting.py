"""Numbers with their doubt, and columns of text, as they are set in a terminal and in LaTeX."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal

WIDTH = 80


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns, the first column to the left, numbers to the right."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    numeric = [k > 0 and all(_NUMBER.match(line[k]) for line in lines[1:]) for k in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


_NUMBER = re.compile(r"\(?-?(\d|inf)|NaN|–")


def width(lines: Sequence[Sequence[str]]) -> int:
    """Characters that the columns take."""
    return sum(max(len(line[k]) for line in lines) + 2 for k in range(len(lines[0]))) - 2


def blocks(lines: list[list[str]]) -> list[list[list[str]]]:
    """The columns cut into tables that fit the terminal, each with the first column."""
    last = len(lines[0])
    while last > 2 and width([line[:last] for line in lines]) > WIDTH:
        last -= 1
    rest = [[line[0], *line[last:]] for line in lines]
    return [[line[:last] for line in lines], *(blocks(rest) if len(rest[0]) > 1 else [])]


def rounded(value: float, doubt: float | None) -> str:
    """``value ± doubt``, the doubt to two significant digits and the value to the same place.

    From a million on, and below a ten-thousandth, a power of ten is taken out. Beside a doubt that is less
    than a billionth of it, the value has nine digits.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if doubt is None or not math.isfinite(doubt) or doubt == 0:
        return f"{value:.4g}"
    if doubt < 1e-9 * abs(value):
        return f"{value:.9g} ± {doubt:.1e}"
    exponent = int(f"{doubt:.1e}".partition("e")[2])
    largest = int(f"{max(abs(value), doubt):.1e}".partition("e")[2])
    if exponent > -8 and -5 < largest < 6:
        place = 1 - exponent
        return f"{round(value, place):.{max(0, place)}f} ± {round(doubt, place):.{max(0, place)}f}"
    places = largest - exponent + 1
    value_there, doubt_there = (Decimal(number).scaleb(-largest) for number in (value, doubt))
    return f"({value_there:.{places}f} ± {doubt_there:.{places}f})e{largest}"
