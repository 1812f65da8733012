"""Levels of contours and colours of losses, chosen once for all panels of a figure."""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from landscape.errors import UsageError
from landscape.records.surface import Surface
from landscape.registry.nearest import did_you_mean

Extend = Literal["neither", "min", "max", "both"]
Limits = tuple[float | None, float | None]

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
_DECADES = 4  # range of the sizes of differences; smaller ones are noise relative to the largest
_WAVER = 0.03  # share of the range of lightness; imperceptible


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
        powers = tuple(level for level in self.levels if f"{abs(level):e}".startswith(("1.000000e", "0.0")))
        named = powers if len(powers) >= 3 else self.levels
        return named[:: 1 + len(named) // 9]


def shared_scale(
    surfaces: Sequence[Surface],
    *,
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
    limits: Limits = (None, None),
    log: bool | None = None,
    colours: str = COLOURS,
) -> Scale:
    """A scale for several surfaces: about ten round levels, log-spaced if the losses are positive and spread.

    Losses that are not finite are ignored. A loss of exactly zero among positive ones is clipped.

    Args:
        surfaces: The surfaces, at least one.
        levels: Levels to use instead.
        norm: Norm to use instead; its limits, if set, bound the levels.
        limits: The lowest and the highest level, instead of a norm.
        log: Whether the scale is logarithmic; by default where it suits the losses.
        colours: The colour map.

    Raises:
        UsageError: The levels do not increase, or a logarithmic scale has no positive limit.
    """
    values = np.concatenate([surface.loss[np.isfinite(surface.loss)] for surface in surfaces])
    if norm is not None:
        limits, log = (norm.vmin, norm.vmax), isinstance(norm, LogNorm) or None
    elif log:
        _refuse_log(values if levels is None else np.asarray(levels), limits[0])
    ends = [float(limit) for limit in limits if limit is not None]
    low, high = (-np.inf if limits[0] is None else ends[0]), (np.inf if limits[1] is None else ends[-1])
    if log is None and -np.inf < low <= 0:
        log = False
    if levels is not None:
        steps = tuple(float(level) for level in levels)
        if len(steps) < 2 or not all(a < b for a, b in itertools.pairwise(steps)):
            raise UsageError(f"levels={list(steps)} must be two or more increasing numbers")
    else:
        steps = _round_levels(np.append(values[(values >= low) & (values <= high)], ends), log)
        # Round numbers reach beyond the limits.
        steps = tuple(sorted({*ends, *(level for level in steps if low < level < high)}))
    if norm is None:
        log = steps[0] > 0 and _ratios_are_even(steps) if log is None else log
        norm = LogNorm() if log else Normalize()
    # A copy, because autoscaling sets limits in the caller's norm.
    norm = copy.deepcopy(norm)
    norm.autoscale_None(steps)
    return Scale(steps, norm, _beyond(values, steps), colours)


def diverging_scale(
    surface: Surface, *, limit: float | None = None, log: bool | None = None, colours: str = DIVERGING
) -> Scale:
    """Levels and colours as far below zero as above, on a symmetric logarithmic scale if the differences are spread.

    Differences smaller than a round number, which nine tenths of them exceed, are on a linear scale around zero.

    Args:
        surface: Differences of two losses.
        limit: The largest difference that has a colour of its own; by default, that of the surface.
        log: Whether the scale is logarithmic beyond the smallest differences; by default where it suits them.
        colours: The colour map.
    """
    finite = surface.loss[np.isfinite(surface.loss)]
    sizes = np.abs(finite[finite != 0])
    furthest = limit or float(sizes.max(initial=0.0)) or 1.0
    smallest = max(float(np.quantile(sizes, 0.1)) if sizes.size else furthest, furthest / 10**_DECADES)
    log = smallest * 10 <= furthest if log is None else log
    if log:
        half = _log_levels(smallest, furthest, fewest=_FEWEST // 2)
    else:
        half = tuple(
            tick for tick in MaxNLocator(10, symmetric=True).tick_values(-furthest, furthest) if tick > 0
        )
    top = limit or half[-1]
    half = (*(float(level) for level in half if level < top), top)
    norm = SymLogNorm(half[0], vmin=-top, vmax=top, base=10) if log else Normalize(-top, top)
    levels = tuple(sorted({0.0, *half, *(-level for level in half)}))
    return Scale(levels, norm, _beyond(finite, levels), colours)


def check_colour_map(name: str, *, diverging: bool) -> None:
    """Refuses a colour map that does not suit losses or, if ``diverging``, differences.

    Equal steps look equal only if the lightness rises or falls throughout, or for differences, to and from the middle.

    Raises:
        UsageError: There is no such map, or its lightness rises and falls, as that of jet and rainbow.
    """
    known = [each for each in colormaps if not each.startswith("cet_")]
    if name not in known:
        raise UsageError(f"--cmap {name}: matplotlib has no such colour map{did_you_mean(name, known)}")
    colours = colormaps[name](np.linspace(0, 1, 65))[:, :3]
    # The lightness by the weights of ITU-R BT.601.
    steps = np.diff(colours @ (0.299, 0.587, 0.114)) * (np.repeat([1, -1], 32) if diverging else 1)
    even = abs(steps.sum()) > 0.3 and np.minimum(steps * np.sign(steps.sum()), 0).sum() > -_WAVER
    # Zero must look neutral, and the two signs different.
    neutral = not diverging or (np.ptp(colours[32]) < 0.4 and np.abs(colours[0] - colours[-1]).max() > 0.3)
    if not (even and neutral):
        way = (
            "evenly to the middle and back; try RdBu_r or PuOr"
            if diverging
            else "in one direction; try viridis or magma"
        )
        raise UsageError(
            f"--cmap {name}: equal steps would look unequal, because its lightness does not go {way}"
        )


def _refuse_log(values: NDArray[np.float64], low: float | None) -> None:
    lowest = float(values.min(initial=np.inf)) if low is None else low
    if lowest < 0 or low == 0 or (values.size and values.max() <= 0):
        raise UsageError(
            f"--log: a logarithmic scale has positive losses only, and the lowest is {lowest:g}; use --linear, or a "
            "--vmin above 0, below which losses are marked"
        )


def _beyond(values: NDArray[np.float64], levels: Sequence[float]) -> Extend:
    """Where values lie beyond the levels."""
    below = bool(values.size and values.min() < levels[0])
    above = bool(values.size and values.max() > levels[-1])
    return "both" if below and above else "min" if below else "max" if above else "neither"


def _round_levels(values: NDArray[np.float64], log: bool | None) -> tuple[float, ...]:
    if values.size == 0:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high > 0 and log is not False:
        low = float(values[values > 0].min())
        if high / low >= 3:
            return _log_levels(low, high)  # below, round numbers are evenly spaced either way
    if low == high:
        width = abs(low) or 1.0
        return (low - 0.1 * width, low + 0.1 * width)
    steps = tuple(float(level) for level in MaxNLocator(10).tick_values(low, high))
    return tuple(level for level in steps if level > 0) if log else steps


def _log_levels(low: float, high: float, *, fewest: int = _FEWEST) -> tuple[float, ...]:
    """Round numbers from just below ``low`` to just above ``high``."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, (last - first) // 12)  # over many decades, not every power of ten is a level
    for mantissas in _MANTISSAS:
        # From the digits: 3 * 10**-5 would not be the number that is written 3e-05.
        ladder = [float(f"{m}e{e}") for e in range(first, last + step, step) for m in mantissas]
        ladder = [level for level in ladder if math.isfinite(level)]
        inside = [level for level in ladder if low < level < high]
        if len(inside) >= fewest:
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
