"""How a figure should look, and the figure: what every kind is asked and gives."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from landscape.errors import UsageError
from landscape.plotting.run_curves import Over
from landscape.plotting.style import Width
from landscape.records.surface import Surface


@dataclass(frozen=True)
class Drawing:
    """A figure and the stub of its caption."""

    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What can be asked of a figure; each kind takes what concerns it.

    Attributes:
        venue: Whose page it is for.
        width: ``column`` or ``text``; by default text for several panels and a column for one.
        titles: Of the panels, one each.
        names: What to call surfaces without titles.
        levels: The losses that lines are drawn at.
        shared: One colour scale for all panels.
        measures: Which quantities of runs.
        over: What is on the horizontal axis of a history.
        split: Which records of runs.
        command: What drew it, for the caption.
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
        """The width of a figure of so many panels."""
        return self.width or ("text" if panels > 1 else "column")

    def titles_for(self, surfaces: Sequence[Surface]) -> list[str]:
        """A title for each of several surfaces; none for a single one, unless it was given.

        Raises:
            UsageError: More or fewer titles than surfaces.
        """
        if self.titles and len(self.titles) != len(surfaces):
            raise UsageError(
                f"{len(self.titles)} titles were given for {len(surfaces)} surfaces; give one each"
            )
        names = self.titles or [
            str(surface.meta.get("label", name))
            for surface, name in zip(surfaces, self.names or [""] * len(surfaces), strict=True)
        ]
        return list(names) if len(surfaces) > 1 or self.titles else []
