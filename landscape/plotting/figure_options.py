"""Options of a figure drawn from files, and the drawing that results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from landscape.errors import UsageError
from landscape.plotting.run_curves import Over
from landscape.plotting.scale import COLOURS, Scale, shared_scale
from landscape.plotting.style import Width
from landscape.records.surface import Surface
from landscape.registry.titles import title

_SIZES = (0.5, 40.0)
_DPI = (30, 1200)


@dataclass(frozen=True)
class Drawing:
    """A figure and the text of its caption."""

    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """Options of a figure, by the names of the flags of ``landscape plot``; each kind uses those that concern it.

    ``names`` are those of surfaces without titles, and ``command``, which draws the figure, stands in its caption.

    Raises:
        UsageError: A number is out of bounds.
    """

    venue: str = "neurips"
    width: Width | None = None
    size: tuple[float, float] | None = None
    dpi: int | None = None
    cmap: str | None = None
    view: tuple[float, float] | None = None
    vmin: float | None = None
    vmax: float | None = None
    log: bool | None = None
    titles: Sequence[str] = ()
    names: Sequence[str] = ()
    levels: Sequence[float] = ()
    shared: bool = True
    measures: Sequence[str] = ()
    over: Over = "epoch"
    split: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        """Checks numbers here, because a figure is drawn only after hours of computing."""
        for side in self.size or ():
            if not _SIZES[0] <= side <= _SIZES[1]:
                raise UsageError(f"--size: {side:g} inches is not between {_SIZES[0]:g} and {_SIZES[1]:g}")
        if self.dpi is not None and not _DPI[0] <= self.dpi <= _DPI[1]:
            raise UsageError(f"--dpi {self.dpi} is not between {_DPI[0]} and {_DPI[1]}")
        if self.view and not (-90 <= self.view[0] <= 90 and -360 <= self.view[1] <= 360):
            raise UsageError(f"--view {self.view[0]:g},{self.view[1]:g} is not within ±90 and ±360 degrees")
        for name, limit in (("vmin", self.vmin), ("vmax", self.vmax)):
            if limit is not None and not math.isfinite(limit):
                raise UsageError(f"--{name} {limit:g} is not a finite number")
            if limit is not None and limit <= 0 and self.log:
                raise UsageError(f"--log --{name} {limit:g}: a logarithmic scale needs limits above 0")
        if self.vmin is not None and self.vmax is not None and self.vmin >= self.vmax:
            raise UsageError(f"--vmin {self.vmin:g} is not below --vmax {self.vmax:g}")
        if self.levels and (self.vmin, self.vmax) != (None, None):
            raise UsageError("--levels says where the colours begin and end; leave out --vmin and --vmax")

    def scale(self, surfaces: Sequence[Surface]) -> Scale:
        """One scale for the losses of some surfaces."""
        limits, colours = (self.vmin, self.vmax), self.cmap or COLOURS
        return shared_scale(
            surfaces, levels=self.levels or None, limits=limits, log=self.log, colours=colours
        )

    def page_for(self, panels: int) -> dict[str, Any]:
        """The arguments for the page of a figure with some panels."""
        return {"venue": self.venue, "width": self.width or ("text" if panels > 1 else "column")}

    def titles_for(self, surfaces: Sequence[Surface]) -> list[str]:
        """A title for each of several surfaces; none for a single one, unless it was given."""
        if self.titles and len(self.titles) != len(surfaces):
            raise UsageError(
                f"{len(self.titles)} titles were given for {len(surfaces)} surfaces; give one each"
            )
        names = self.names or [""] * len(surfaces)
        labels = [title(str(s.meta.get("label", name))) for s, name in zip(surfaces, names, strict=True)]
        return list(self.titles or labels) if len(surfaces) > 1 or self.titles else []
