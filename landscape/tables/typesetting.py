"""Numbers with their uncertainty, aligned columns and folded sentences."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from decimal import Decimal

from landscape.tables.escaping import visible

WIDTH = 80
"""Characters in a line of a terminal."""

ABSENT = "–"
"""A missing value."""


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns; columns of numbers are aligned to the right, except for the first column."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [k > 0 and all(_NUMBER.match(line[k]) for line in lines[1:]) for k in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


# A column is numeric also if some numbers are missing or have a power of ten factored out: "(1.5 ± 0.2)e9".
_NUMBER = re.compile(r"\(?[-−]?(\d|inf)|NaN|–")


def width_of(lines: Sequence[Sequence[str]]) -> int:
    """Characters in a line of the aligned columns."""
    return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) - 2


def blocks(lines: Sequence[Sequence[str]], width: int) -> list[Sequence[Sequence[str]]]:
    """The columns cut into tables of at most ``width`` characters, each with the first column."""
    last = len(lines[0])
    # The second column stays even if it is too wide, so that each block makes progress.
    while last > 2 and width_of([line[:last] for line in lines]) > width:
        last -= 1
    rest = [[line[0], *line[last:]] for line in lines]
    return [[line[:last] for line in lines], *(blocks(rest, width) if len(rest[0]) > 1 else [])]


def folded(sentences: Iterable[str], width: int | None = WIDTH) -> str:
    """Sentences, one a line; those longer than ``width`` are folded and indented."""
    lines = map(visible, sentences)
    if width is None:
        return "\n".join(lines)
    # Optimizers and measures have hyphens in their names, which must stay in one piece to be found by a search.
    fill = textwrap.TextWrapper(width, subsequent_indent="  ", break_on_hyphens=False).fill
    return "\n".join(map(fill, lines))


def rounded(value: float, doubt: float | None) -> str:
    """``value ± doubt``, the uncertainty to two significant digits and the value to the same place.

    A common power of ten is factored out from a million on and below a ten-thousandth.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if doubt is None or not math.isfinite(doubt) or doubt == 0:
        return f"{value:.4g}"
    if doubt < 1e-9 * abs(value):  # more digits than a reader can compare
        return f"{value:.9g} ± {doubt:.1e}"
    # Of the formatted number, because rounding can carry: 0.0996 becomes 0.10, with another exponent.
    exponent = int(f"{doubt:.1e}".partition("e")[2])
    largest = int(f"{max(abs(value), doubt):.1e}".partition("e")[2])
    if exponent > -8 and -5 < largest < 6:
        place = 1 - exponent
        return f"{round(value, place):.{max(0, place)}f} ± {round(doubt, place):.{max(0, place)}f}"
    places = largest - exponent + 1
    # Decimals, because 5e-324 divided by its own power of ten has no binary digits left.
    value_there, doubt_there = (Decimal(number).scaleb(-largest) for number in (value, doubt))
    return f"({value_there:.{places}f} ± {doubt_there:.{places}f})e{largest}"


def bracketed(mean: float, low: float, high: float) -> str:
    """``−1.2 [−2.0, −0.4]``: a number with its interval, all to two digits of the interval's width."""
    width = high - low
    if low > 0 or high < 0:  # enough digits to see that the interval excludes zero
        width = min(width, 10 * min(abs(low), abs(high)))
    width = max(width, 1e-3 * (high - low), 1e-300)  # a width of 0 would ask for infinitely many digits
    return f"{signed(mean, width)} [{signed(low, width)}, {signed(high, width)}]"


def signed(value: float, width: float | None = None) -> str:
    """A number with a typographic minus; to two significant digits of ``width`` if that is given."""
    if width is None:
        text = f"{value:.4g}"
    else:
        exponent = int(f"{width:.1e}".partition("e")[2])
        places = 1 - exponent
        small = -4 <= exponent <= 5
        text = f"{round(value, places) + 0.0:.{max(0, places)}f}" if small else f"{value:.3g}"
    return text.replace("-", "−")
