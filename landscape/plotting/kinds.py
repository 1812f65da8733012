"""The kinds of figures, and which of them suits what a file holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from landscape.errors import InputError, UsageError
from landscape.plotting.caption import caption
from landscape.plotting.contour import OWN_SCALES, panels
from landscape.plotting.difference import difference, diverging_scale
from landscape.plotting.line_panels import line_panels
from landscape.plotting.record_figures import draw_dots, draw_history, draw_quantiles, draw_spectrum
from landscape.plotting.relief import reliefs
from landscape.plotting.sources import Run
from landscape.plotting.wish import Drawing, Wish
from landscape.records.surface import Surface
from landscape.registry.nearest import did_you_mean


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        name: As on the command line.
        summary: One line on what it shows.
        of: Of what: surfaces, or runs and their records.
        draw: The figure and its caption.
    """

    name: str
    summary: str
    of: type[Surface] | type[Run]
    draw: Callable[..., Drawing]


def draw_figure(sources: Sequence[Surface | Run], wish: Wish, kind: str | None = None) -> Drawing:
    """The figure of what files hold.

    Args:
        sources: Surfaces, or runs; see :func:`landscape.plotting.sources.read_source`.
        wish: How it should look.
        kind: A name in :data:`KINDS`; by default what suits the sources.

    Raises:
        UsageError: There is no such kind, or it is not one for these sources.
        InputError: Surfaces and runs together.
    """
    row = KINDS[_known(kind)] if kind else KINDS[suitable(sources)]
    if not all(isinstance(source, row.of) for source in sources):
        suited = ", ".join(name for name, other in KINDS.items() if isinstance(sources[0], other.of))
        raise UsageError(f"--kind {row.name} does not fit what the files hold; what fits: {suited}")
    return row.draw(sources, wish)


def suitable(sources: Sequence[Surface | Run]) -> str:
    """The kind that is drawn when none is asked for.

    Raises:
        InputError: Surfaces and runs together, or planes and lines.
    """
    surfaces = [source for source in sources if isinstance(source, Surface)]
    if surfaces:
        if len(surfaces) < len(sources) or len({surface.is_line for surface in surfaces}) > 1:
            raise InputError(
                "surfaces, lines and runs do not go into one figure; draw them one after the other"
            )
        return "line" if surfaces[0].is_line else "filled"
    runs = [source for source in sources if isinstance(source, Run)]
    if any(run.epochs or run.measured for run in runs):
        return "history"
    measures = {record.measure for run in runs for record in run.records}
    return {"spectral-density": "spectrum", "gradient-noise": "quantiles"}.get(
        measures.pop() if len(measures) == 1 else "", "dots"
    )


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise UsageError(f"unknown kind '{kind}'{did_you_mean(kind, KINDS)}; known: {', '.join(KINDS)}")
    return kind


def _planes(surfaces: Sequence[Surface], name: str) -> None:
    if any(surface.is_line for surface in surfaces):
        raise UsageError(
            f"--kind {name} is for surfaces on a plane, and this is a line; draw it with --kind line"
        )


def _contours(surfaces: Sequence[Surface], wish: Wish, *, filled: bool) -> Drawing:
    _planes(surfaces, "filled" if filled else "contour")
    titles = wish.titles_for(surfaces)
    figure = panels(
        surfaces,
        titles,
        venue=wish.venue,
        width=wish.width_for(len(surfaces)),
        levels=wish.levels or None,
        filled=filled,
        shared=wish.shared,
    )
    said = "" if wish.shared or len(surfaces) == 1 else f" {OWN_SCALES}"
    return Drawing(figure, caption(*surfaces, titles=titles) + said)


def _reliefs(surfaces: Sequence[Surface], wish: Wish) -> Drawing:
    _planes(surfaces, "relief")
    titles = wish.titles_for(surfaces)
    figure = reliefs(surfaces, titles, venue=wish.venue, width=wish.width_for(len(surfaces)))
    return Drawing(figure, caption(*surfaces, titles=titles))


def _lines(surfaces: Sequence[Surface], wish: Wish) -> Drawing:
    if not all(surface.is_line for surface in surfaces):
        raise UsageError("--kind line is for a line, and this is a plane; draw it with --kind filled")
    titles = wish.titles_for(surfaces)
    figure = line_panels(surfaces, titles, venue=wish.venue, width=wish.width_for(len(surfaces)))
    return Drawing(figure, caption(*surfaces, titles=titles))


def _difference(surfaces: Sequence[Surface], wish: Wish) -> Drawing:
    if len(surfaces) != 2:
        raise UsageError(f"--kind difference needs two surfaces, {len(surfaces)} were given")
    _planes(surfaces, "difference")
    titles = wish.titles_for(surfaces)
    shown = difference(*surfaces)
    width = wish.width or "column"
    figure = panels(
        [shown], [f"{titles[1]} − {titles[0]}"], venue=wish.venue, width=width, scale=diverging_scale(shown)
    )
    return Drawing(
        figure, f"Loss of {titles[1]} minus loss of {titles[0]}. {caption(*surfaces, titles=titles)}"
    )


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "filled",
            "filled contours with labelled lines",
            Surface,
            lambda s, w: _contours(s, w, filled=True),
        ),
        Kind("contour", "contour lines", Surface, lambda s, w: _contours(s, w, filled=False)),
        Kind("relief", "the loss as a height", Surface, _reliefs),
        Kind("difference", "the second surface minus the first", Surface, _difference),
        Kind("line", "a slice along one direction, with accuracy", Surface, _lines),
        Kind("history", "curves over training", Run, draw_history),
        Kind("dots", "optimizers side by side, a dot a seed", Run, draw_dots),
        Kind("spectrum", "density of the Hessian eigenvalues", Run, draw_spectrum),
        Kind("quantiles", "Q–Q plot of stochastic gradient norms", Run, draw_quantiles),
    )
}
"""The kinds by name; a new one is a row here."""
