"""Options of a figure drawn from files, and the drawing that results."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from landscape.errors import UsageError
from landscape.plotting.run_curves import Over
from landscape.plotting.style import Width
from landscape.records.surface import Surface


@dataclass(frozen=True)
class Drawing:
    """A figure and the text of its caption."""

    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """Options of a figure, by the names of the flags of ``landscape plot``; each kind uses those that concern it.

    ``names`` are those of surfaces without titles, and ``command``, which draws the figure, stands in its caption.
    """

    venue: str = "neurips"
    width: Width | None = None
    titles: Sequence[str] = ()
    names: Sequence[str] = ()
    levels: Sequence[float] = ()
    shared: bool = True
    measures: Sequence[str] = ()
    over: Over = "epoch"
    split: str | None = None
    command: str | None = None

    def width_for(self, panels: int) -> Width:
        """The width of a figure with some panels."""
        return self.width or ("text" if panels > 1 else "column")

    def titles_for(self, surfaces: Sequence[Surface]) -> list[str]:
        """A title for each of several surfaces; none for a single one, unless it was given."""
        if self.titles and len(self.titles) != len(surfaces):
            raise UsageError(
                f"{len(self.titles)} titles were given for {len(surfaces)} surfaces; give one each"
            )
        names = self.names or [""] * len(surfaces)
        labels = [str(s.meta.get("label", name)) for s, name in zip(surfaces, names, strict=True)]
        return list(self.titles or labels) if len(surfaces) > 1 or self.titles else []
