"""Colours, markers and line styles that tell series apart in colour, in grey and for the colour-blind.

An optimizer has the same colour in every figure, whatever else is drawn, so that a reader learns it once.
"""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D

from landscape.registry.titles import title
from landscape.tables.escaping import for_mathtext

Dashes = Literal["solid"] | tuple[float, tuple[float, ...]]
DASHES: Mapping[str, Dashes] = {"train": "solid", "test": (0, (3.5, 1.5))}
"""The line style of each split, as in Wu et al. 2024, Fig. 2."""

COLOURS = {
    "sgd": "#000000",
    "sam": "#BB5566",
    "gsam": "#004488",
    "asam": "#DDAA33",
    "crsam": "#44AA99",
    "aesam": "#882255",
    "looksam": "#56B4E9",
    "adamw": "#117733",
}
"""The colours of the optimizers that are compared most often, apart for the colour-blind too."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# For curves of one split, which have no markers.
_STYLES: tuple[Dashes, ...] = ("solid", (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)))


def colour_of(label: str, default: str | None = None) -> str:
    """The colour of an optimizer, by the name at the start of a label: of ``sam:rho=0.1`` and ``SAM (ρ = 0.1)`` alike.

    Args:
        label: The label.
        default: The colour of other labels; by default one of :data:`COLOURS` that depends on the label alone.
    """
    name = _optimizer(label)
    others = list(COLOURS.values())[1:]  # black is the baseline's
    return COLOURS.get(name) or default or others[zlib.crc32(name.encode()) % len(others)]


@dataclass(frozen=True)
class Appearance:
    """How one series is drawn."""

    colour: str
    marker: str
    linestyle: Dashes


class Series:
    """A colour, a marker and a line style for each name.

    The colour is that of the optimizer; settings of one optimizer are shades of it, the first in its full colour.
    No two names have both the same colour and the same marker.

    Args:
        names: Names of the series; repetitions are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._looks: dict[str, Appearance] = {}
        settings: dict[str, int] = {}
        for name in dict.fromkeys(names):
            optimizer, colour = _optimizer(name), colour_of(name)
            earlier = settings[optimizer] = settings.get(optimizer, -1) + 1
            number = (
                list(COLOURS).index(optimizer) if optimizer in COLOURS else zlib.crc32(optimizer.encode())
            )
            occupied = {(look.colour, look.marker) for look in self._looks.values()}
            shade = _lighter(colour, earlier)
            order = [_MARKERS[(number + earlier + k) % len(_MARKERS)] for k in range(len(_MARKERS))]
            marker = next((each for each in order if (shade, each) not in occupied), order[0])
            self._looks[name] = Appearance(shade, marker, _STYLES[(number + earlier) % len(_STYLES)])

    def __getitem__(self, name: str) -> Appearance:
        return self._looks[name]

    def lines(self) -> list[Line2D]:
        """Legend entries of curves without markers."""
        return [_key(name, look.colour, linestyle=look.linestyle) for name, look in self._looks.items()]

    def dots(self) -> list[Line2D]:
        """Legend entries of open markers without lines."""
        hollow = {"markersize": 3.5, "fillstyle": "none", "linestyle": "none"}
        return [_key(name, look.colour, marker=look.marker, **hollow) for name, look in self._looks.items()]

    def keys(self) -> list[Line2D]:
        """Legend entries of curves with markers, without those of unnamed series."""
        return [
            _key(name, look.colour, marker=look.marker, markersize=3.5)
            for name, look in self._looks.items()
            if name
        ]


def split_keys(splits: Iterable[str]) -> list[Line2D]:
    """Legend entries for the line styles of the splits; none if there are fewer than two splits."""
    present = set(splits)
    drawn = [split for split in DASHES if split in present]
    return [_key(split, "0.35", linestyle=dashes(split)) for split in drawn] if len(drawn) > 1 else []


def dashes(split: str) -> Dashes:
    """The line style of a split; solid if it is neither train nor test."""
    return DASHES.get(split, "solid")


def _optimizer(label: str) -> str:
    """``crsam`` of ``cr-sam:rho=0.1``, ``CR-SAM (ρ = 0.1)`` and the run folder ``cr-sam-0``."""
    name = re.split(r"[:(,\s]", label.strip().lower(), maxsplit=1)[0]
    return re.sub(r"[^\w+]", "", re.sub(r"-\d+$", "", name))


def _lighter(colour: str, steps: int) -> str:
    """The colour itself, or after some steps up to two thirds of the way to white, where lines can still be seen."""
    share = 0.0 if not steps else 0.66 * steps / (steps + 1)
    red, green, blue = (value + share * (1 - value) for value in to_rgb(colour))
    return to_hex((red, green, blue))


def _key(name: str, colour: str, **style: Any) -> Line2D:
    return Line2D([], [], color=colour, label=for_mathtext(title(name)), **style)
