"""The kinds of figures, and the kind that suits the content of some files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from landscape.errors import InputError, UsageError
from landscape.plotting.caption import caption
from landscape.plotting.contour import OWN_SCALES, difference, diverging_scale, panels
from landscape.plotting.figure_options import Drawing, FigureOptions
from landscape.plotting.line import line_panels
from landscape.plotting.record_figures import draw_dots, draw_history, draw_quantiles, draw_spectrum
from landscape.plotting.relief import reliefs
from landscape.plotting.sources import Run
from landscape.records.surface import Surface
from landscape.registry.nearest import did_you_mean


@dataclass(frozen=True)
class Kind:
    """A kind of figure: what it is drawn from, surfaces or runs with their records, and by which function."""

    of: type[Surface] | type[Run]
    draw: Callable[..., Drawing]


def draw_figure(sources: Sequence[Surface | Run], options: FigureOptions, kind: str | None = None) -> Drawing:
    """The figure of what files hold, of a kind in :data:`KINDS`; by default, the one that suits the sources.

    Raises:
        UsageError: There is no such kind, or it does not fit these sources.
        InputError: The sources are surfaces and runs together.
    """
    name = kind or suitable(sources)
    if name not in KINDS:
        raise UsageError(f"unknown kind '{name}'{did_you_mean(name, KINDS)}; known: {', '.join(KINDS)}")
    row = KINDS[name]
    if not all(isinstance(source, row.of) for source in sources):
        suited = ", ".join(key for key, other in KINDS.items() if isinstance(sources[0], other.of))
        raise UsageError(f"--kind {name} does not fit what the files hold; what fits: {suited}")
    return row.draw(sources, options)


def suitable(sources: Sequence[Surface | Run]) -> str:
    """The kind that is drawn by default; raises :class:`InputError` if the sources do not go together."""
    surfaces = [source for source in sources if isinstance(source, Surface)]
    if surfaces:
        if len(surfaces) < len(sources) or len({surface.is_line for surface in surfaces}) > 1:
            raise InputError(
                "surfaces, lines and runs do not fit into one figure; draw them one after the other"
            )
        return "line" if surfaces[0].is_line else "filled"
    runs = [source for source in sources if isinstance(source, Run)]
    if any(run.epochs or run.measured for run in runs):
        return "history"
    measures = {record.measure for run in runs for record in run.records}
    only = measures.pop() if len(measures) == 1 else ""
    return {"spectral-density": "spectrum", "gradient-noise": "quantiles"}.get(only, "dots")


def _filled(surfaces: Sequence[Surface], options: FigureOptions, *, filled: bool = True) -> Drawing:
    titles = _titles(surfaces, options, "filled" if filled else "contour")
    page: dict[str, Any] = {"venue": options.venue, "width": options.width_for(len(surfaces))}
    levels = options.levels or None
    figure = panels(surfaces, titles, levels=levels, filled=filled, shared=options.shared, **page)
    scales = "" if options.shared or len(surfaces) == 1 else f" {OWN_SCALES}"
    return Drawing(figure, caption(*surfaces, titles=titles) + scales)


def _contour(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    return _filled(surfaces, options, filled=False)


def _difference(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    if len(surfaces) != 2:
        raise UsageError(f"--kind difference needs two surfaces, {len(surfaces)} were given")
    first, second = titles = _titles(surfaces, options, "difference")
    surface = difference(*surfaces)
    width, scale = options.width or "column", diverging_scale(surface)
    figure = panels([surface], [f"{second} − {first}"], venue=options.venue, width=width, scale=scale)
    text = f"Loss of {second} minus loss of {first}. {caption(*surfaces, titles=titles)}"
    return Drawing(figure, text)


def _side_by_side(draw: Callable[..., Figure], kind: str) -> Callable[..., Drawing]:
    def drawing(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
        titles = _titles(surfaces, options, kind)
        figure = draw(surfaces, titles, venue=options.venue, width=options.width_for(len(surfaces)))
        return Drawing(figure, caption(*surfaces, titles=titles))

    return drawing


def _titles(surfaces: Sequence[Surface], options: FigureOptions, kind: str) -> list[str]:
    """The titles, after a check that the kind suits a line, or planes."""
    lines = [surface.is_line for surface in surfaces]
    if kind == "line" and not all(lines):
        raise UsageError("--kind line is for a line, and this is a plane; draw it with --kind filled")
    if kind != "line" and any(lines):
        raise UsageError(f"--kind {kind} is for surfaces on a plane, and this is a line; use --kind line")
    return options.titles_for(surfaces)


KINDS = {
    "filled": Kind(Surface, _filled),
    "contour": Kind(Surface, _contour),
    "relief": Kind(Surface, _side_by_side(reliefs, "relief")),
    "difference": Kind(Surface, _difference),
    "line": Kind(Surface, _side_by_side(line_panels, "line")),
    "history": Kind(Run, draw_history),
    "dots": Kind(Run, draw_dots),
    "spectrum": Kind(Run, draw_spectrum),
    "quantiles": Kind(Run, draw_quantiles),
}
"""The kinds by name. A new kind is a row here."""
