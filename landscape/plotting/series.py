"""How several series on one pair of axes are told apart, in colour, in grey and by the colour-blind."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Literal

from matplotlib.lines import Line2D

from landscape.tables.escaping import for_mathtext

_COLOURS = ("#004488", "#BB5566", "#DDAA33", "#000000", "#4E9A8C", "#9970AB")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_Dashes = Literal["solid"] | tuple[float, tuple[float, ...]]

DASHES: Mapping[str, _Dashes] = {"train": "solid", "test": (0, (3.5, 1.5))}
"""The line of each split: solid on training data, dashed on test data, as in Wu et al. 2024, Fig. 2."""


class Series:
    """A colour and a marker for each name, given out in order; colours differ in lightness too.

    Args:
        names: What is drawn.
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
        """The lines of a legend of curves without markers."""
        return [
            Line2D([], [], color=colour, label=for_mathtext(name))
            for name, (colour, _) in self._looks.items()
        ]

    def dots(self) -> list[Line2D]:
        """The keys of a legend of open markers without lines."""
        return [
            Line2D(
                [],
                [],
                color=colour,
                marker=marker,
                markersize=3.5,
                fillstyle="none",
                linestyle="none",
                label=for_mathtext(name),
            )
            for name, (colour, marker) in self._looks.items()
        ]

    def keys(self) -> list[Line2D]:
        """The lines of a legend; none for a single series without a name."""
        return [
            Line2D([], [], color=colour, marker=marker, markersize=3.5, label=for_mathtext(name))
            for name, (colour, marker) in self._looks.items()
            if name
        ]


def split_keys(splits: Iterable[str]) -> list[Line2D]:
    """The lines of a legend that say which split is solid and which dashed; none for a single split."""
    given = set(splits)
    seen = [split for split in DASHES if split in given]
    if len(seen) < 2:
        return []
    return [Line2D([], [], color="0.35", linestyle=dashes(split), label=split) for split in seen]


def dashes(split: str) -> _Dashes:
    """The line style of a split; solid for what is neither train nor test."""
    return DASHES.get(split, "solid")
