"""Curves as text: dots of Braille characters, eight to a character, for a terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The bit of each dot of a Braille character, by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800


@dataclass(frozen=True)
class Cell:
    """A character, and the number of the curve that it belongs to; ``None`` for what belongs to none."""

    text: str
    curve: int | None = None


def chart(
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    width: int,
    height: int,
    label: str,
    log: bool = False,
) -> list[list[Cell]]:
    """Lines of characters: curves with the range of both axes.

    Args:
        curves: x and y, of the same length each; values that are not finite are left out.
        width: Of the whole, in characters.
        height: Of the curves, in lines; the horizontal axis takes one more.
        label: Of the horizontal axis.
        log: Whether the vertical axis is logarithmic, for values that are positive.
    """
    kept = [(x[good], y[good]) for x, y in curves for good in [np.isfinite(x) & np.isfinite(y)]]
    if not any(len(x) for x, _ in kept):
        return [[Cell("no values yet")]]
    xs, ys = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    low, high = float(ys.min()), float(ys.max())
    names = [f"{value:.3g}" for value in (high, low)]
    margin = max(map(len, names)) + 1
    columns = max(8, width - margin - 1)
    dots = np.zeros((height, columns), dtype=np.int64)
    owner = np.full((height, columns), -1)
    for number, (x, y) in enumerate(kept):
        across = _places(x, float(xs.min()), float(xs.max()), 2 * columns)
        scaled = np.log(y) if log else y
        ends = (math.log(low), math.log(high)) if log else (low, high)
        up = _places(scaled, *ends, 4 * height)
        for column, row in _joined(across, 4 * height - 1 - up):
            dots[row // 4, column // 2] |= _DOTS[column % 2][row % 4]
            owner[row // 4, column // 2] = number
    lines = []
    for row in range(height):
        name = names[0] if row == 0 else names[1] if row == height - 1 else ""
        cells = [Cell(f"{name:>{margin - 1}} "), Cell("│")]
        for bits, number in zip(dots[row], owner[row], strict=True):
            cells.append(Cell(chr(_BLANK + int(bits)), int(number)) if bits else Cell(" "))
        lines.append(cells)
    first, last = f"{xs.min():g}", f"{xs.max():g}"
    middle = f"{label} (values: logarithmic)" if log else label
    room = columns - len(first) - len(last)
    lines.append([Cell(" " * (margin + 1) + first + middle.center(room)[:room] + last)])
    return lines


def _places(values: NDArray[np.float64], low: float, high: float, count: int) -> NDArray[np.int64]:
    """The dots of values between two ends."""
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return np.rint(share * (count - 1)).astype(np.int64)


def _joined(across: NDArray[np.int64], down: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The dots of the line through some points."""
    dots = [(int(across[0]), int(down[0]))] if len(across) == 1 else []
    for k in range(len(across) - 1):
        steps = max(abs(int(across[k + 1] - across[k])), abs(int(down[k + 1] - down[k])), 1)
        xs = np.rint(np.linspace(across[k], across[k + 1], steps + 1)).astype(int)
        ys = np.rint(np.linspace(down[k], down[k + 1], steps + 1)).astype(int)
        dots += zip(xs.tolist(), ys.tolist(), strict=True)
    return dots
