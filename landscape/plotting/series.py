"""Colours, markers and line styles that tell series apart in colour, in grey and for the colour-blind."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from matplotlib.lines import Line2D

from landscape.tables.escaping import for_mathtext

# The colours differ in lightness too.
_COLOURS = ("#004488", "#BB5566", "#DDAA33", "#000000", "#4E9A8C", "#9970AB")
# Seven markers for six colours, so that the seventh series differs from the first in its marker.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_Dashes = Literal["solid"] | tuple[float, tuple[float, ...]]
DASHES: Mapping[str, _Dashes] = {"train": "solid", "test": (0, (3.5, 1.5))}
"""The line style of each split, as in Wu et al. 2024, Fig. 2."""


class Series:
    """A colour and a marker for each name, assigned in order.

    Args:
        names: Names of the series; repetitions are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        pairs = zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False)
        self._looks = dict(zip(dict.fromkeys(names), pairs, strict=False))

    def colour(self, name: str) -> str:
        """The colour of a series."""
        return self._looks[name][0]

    def marker(self, name: str) -> str:
        """The marker of a series."""
        return self._looks[name][1]

    def lines(self) -> list[Line2D]:
        """Legend entries of curves without markers."""
        return [_key(name, colour) for name, (colour, _) in self._looks.items()]

    def dots(self) -> list[Line2D]:
        """Legend entries of open markers without lines."""
        hollow = {"markersize": 3.5, "fillstyle": "none", "linestyle": "none"}
        return [_key(name, colour, marker=marker, **hollow) for name, (colour, marker) in self._looks.items()]

    def keys(self) -> list[Line2D]:
        """Legend entries of curves with markers, without those of unnamed series."""
        return [
            _key(name, colour, marker=marker, markersize=3.5)
            for name, (colour, marker) in self._looks.items()
            if name
        ]


def split_keys(splits: Iterable[str]) -> list[Line2D]:
    """Legend entries for the line styles of the splits; none if there are fewer than two splits."""
    present = set(splits)
    drawn = [split for split in DASHES if split in present]
    return [_key(split, "0.35", linestyle=dashes(split)) for split in drawn] if len(drawn) > 1 else []


def dashes(split: str) -> _Dashes:
    """The line style of a split; solid if it is neither train nor test."""
    return DASHES.get(split, "solid")


def _key(name: str, colour: str, **style: Any) -> Line2D:
    return Line2D([], [], color=colour, label=for_mathtext(name), **style)
