"""Levels of contours and colours of losses, chosen once for all panels of a figure."""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landscape.errors import UsageError
from landscape.records.surface import Surface

Extend = Literal["neither", "min", "max", "both"]

COLOURS = "viridis"
"""The colour map. Its lightness is even, so that it survives grey printing and colour blindness."""
DIVERGING = "RdBu_r"
"""The colour map of differences: blue below zero, red above, equally dark at equal distance."""

# Round numbers of one decade, from coarse to fine.
_MANTISSAS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
)
_FEWEST = 8


@dataclass(frozen=True, eq=False)
class Scale:
    """Increasing levels and the map from loss to colour; ``extend`` says where losses lie beyond the levels."""

    levels: tuple[float, ...]
    norm: Normalize
    extend: Extend
    colours: str = COLOURS

    @property
    def ticks(self) -> tuple[float, ...]:
        """The levels that a colour bar names: powers of ten if there are several, at most about eight."""
        # By the digits, because 1e-5 is not exactly a power of ten.
        powers = tuple(level for level in self.levels if f"{level:e}".startswith("1.000000e"))
        named = powers if len(powers) >= 3 else self.levels
        return named[:: 1 + len(named) // 9]


def shared_scale(
    surfaces: Sequence[Surface], *, levels: Sequence[float] | None = None, norm: Normalize | None = None
) -> Scale:
    """A scale for several surfaces: about ten round levels, log-spaced if the losses are positive and spread.

    Losses that are not finite are ignored. A loss of exactly zero among positive ones is clipped.

    Args:
        surfaces: The surfaces, at least one.
        levels: Levels to use instead.
        norm: Norm to use instead; its limits, if set, bound the levels.

    Raises:
        UsageError: The levels do not increase.
    """
    values = np.concatenate([surface.loss[np.isfinite(surface.loss)] for surface in surfaces])
    if levels is not None:
        steps = tuple(float(level) for level in levels)
        if len(steps) < 2 or not all(a < b for a, b in itertools.pairwise(steps)):
            raise UsageError(f"levels={list(steps)} must be two or more increasing numbers")
    else:
        steps = _round_levels(_within(values, norm))
    if norm is None:
        norm = LogNorm() if steps[0] > 0 and _ratios_are_even(steps) else Normalize()
    # A copy, because autoscaling sets limits in the caller's norm.
    norm = copy.deepcopy(norm)
    norm.autoscale_None(steps)
    below = bool(values.size and values.min() < steps[0])
    above = bool(values.size and values.max() > steps[-1])
    extend: Extend = "both" if below and above else "min" if below else "max" if above else "neither"
    return Scale(steps, norm, extend)


def _within(values: NDArray[np.float64], norm: Normalize | None) -> NDArray[np.float64]:
    low = -np.inf if norm is None or norm.vmin is None else float(norm.vmin)
    high = np.inf if norm is None or norm.vmax is None else float(norm.vmax)
    limits = [limit for limit in (low, high) if math.isfinite(limit)]
    return np.append(values[(values >= low) & (values <= high)], limits)


def _round_levels(values: NDArray[np.float64]) -> tuple[float, ...]:
    if values.size == 0:
        return (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high > 0:
        low = float(values[values > 0].min())
        if high / low >= 3:
            return _log_levels(low, high)  # below, round numbers are evenly spaced either way
    if low == high:
        width = abs(low) or 1.0
        return (low - 0.1 * width, low + 0.1 * width)
    return tuple(float(level) for level in MaxNLocator(10).tick_values(low, high))


def _log_levels(low: float, high: float) -> tuple[float, ...]:
    """Round numbers from just below ``low`` to just above ``high``."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, (last - first) // 12)  # over many decades, not every power of ten is a level
    for mantissas in _MANTISSAS:
        # From the digits: 3 * 10**-5 would not be the number that is written 3e-05.
        ladder = [float(f"{m}e{e}") for e in range(first, last + step, step) for m in mantissas]
        ladder = [level for level in ladder if math.isfinite(level)]
        inside = [level for level in ladder if low < level < high]
        if len(inside) >= _FEWEST:
            break
    below = [level for level in ladder if level <= low]
    above = [level for level in ladder if level >= high] or [high]
    return (*below[-1:], *inside, *above[:1])


def _ratios_are_even(levels: tuple[float, ...]) -> bool:
    """Whether the levels are closer to a geometric than to an arithmetic sequence."""
    ratios, steps = np.diff(np.log(levels)), np.diff(levels) / levels[-1]
    return float(ratios.std() / ratios.mean()) < float(steps.std() / steps.mean())


def number(value: float) -> str:
    """A loss as written on a figure: ``0.003``, ``2·10⁻⁵``."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}".replace("-", "−")
    mantissa, exponent = f"{value:.3e}".split("e")
    # As a formula, because few fonts have superscript digits.
    factor = "" if float(mantissa) == 1 else f"{float(mantissa):g} \\cdot "
    return f"${factor}10^{{{int(exponent)}}}$"
