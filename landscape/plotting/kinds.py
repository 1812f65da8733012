"""The kinds of figures, and the kind that suits the content of some files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.colors import SymLogNorm

from landscape.errors import InputError, UsageError
from landscape.plotting.basins import MOST_DRAWN, basin_figure
from landscape.plotting.caption import caption, plain
from landscape.plotting.contour import OWN_SCALES, difference, panels
from landscape.plotting.figure_options import Drawing, FigureOptions
from landscape.plotting.line import line_panels
from landscape.plotting.record_figures import (
    draw_blocks,
    draw_dots,
    draw_history,
    draw_quantiles,
    draw_spectrum,
    draw_timeline,
)
from landscape.plotting.relief import best_view, reliefs
from landscape.plotting.scale import DIVERGING, Scale, check_colour_map, diverging_scale
from landscape.plotting.sources import Run
from landscape.plotting.style import paper
from landscape.records.surface import Surface
from landscape.registry.nearest import did_you_mean
from landscape.surfaces.merge_tree import basin_notes, tree_of

SMOOTHED = "Between the points of the grid, monotone cubic interpolation, without extrema that the points do not have."


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
    name = kind or suitable(sources, options)
    if name not in KINDS:
        raise UsageError(f"unknown kind '{name}'{did_you_mean(name, KINDS)}; known: {', '.join(KINDS)}")
    row = KINDS[name]
    if not all(isinstance(source, row.of) for source in sources):
        suited = ", ".join(key for key, other in KINDS.items() if isinstance(sources[0], other.of))
        raise UsageError(f"--kind {name} does not fit what the files hold; what fits: {suited}")
    check_look(name, options)
    # No logarithmic axis begins at zero.
    log = False if options.log is None and options.vmin is not None and options.vmin <= 0 else options.log
    with paper(size=options.size, log=log):
        drawing = row.draw(sources, options)
    if options.command and row.of is Surface:  # whose captions have only the command that computed them
        return Drawing(drawing.figure, f"{drawing.caption} Drawn by `{options.command}`.")
    return drawing


def check_look(kind: str, options: FigureOptions) -> None:
    """Refuses an option that does nothing for a kind of figure, and a colour map that does not suit it.

    Raises:
        UsageError: There is such an option.
    """
    for name, kinds in _CONCERNED.items():
        if getattr(options, name) is not None and kind not in kinds:
            flag = ("log" if options.log else "linear") if name == "log" else name
            raise UsageError(
                f"--{flag} does nothing for a figure of kind '{kind}'; it is for {', '.join(kinds)}"
            )
    if options.cmap:
        check_colour_map(options.cmap, diverging=kind == "difference")


def suitable(sources: Sequence[Surface | Run], options: FigureOptions | None = None) -> str:
    """The kind that is drawn by default; raises :class:`InputError` if the sources do not go together."""
    surfaces = [source for source in sources if isinstance(source, Surface)]
    if surfaces:
        if len(surfaces) < len(sources) or len({surface.is_line for surface in surfaces}) > 1:
            raise InputError(
                "surfaces, lines and runs do not fit into one figure; draw them one after the other"
            )
        planes = "relief" if options and options.view else "filled"
        return "line" if surfaces[0].is_line else planes
    runs = [source for source in sources if isinstance(source, Run)]
    if any(run.epochs or run.measured for run in runs):
        return "history"
    measures = {record.measure for run in runs for record in run.records}
    only = measures.pop() if len(measures) == 1 else ""
    suited = {"spectral-density": "spectrum", "gradient-noise": "quantiles", "block-spectra": "blocks"}
    return suited.get(only, "dots")


def _filled(surfaces: Sequence[Surface], options: FigureOptions, *, filled: bool = True) -> Drawing:
    titles = _titles(surfaces, options, "filled" if filled else "contour")
    scales = [options.scale(surfaces)] * len(surfaces)
    if not options.shared:
        scales = [options.scale([surface]) for surface in surfaces]
    figure = panels(surfaces, titles, filled=filled, scales=scales, **options.page_for(len(surfaces)))
    own = "" if options.shared or len(surfaces) == 1 else OWN_SCALES
    drawing = [own, *_of_scale(scales, "dotted"), SMOOTHED]
    return Drawing(figure, caption(*surfaces, titles=titles, drawing=drawing))


def _contour(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    return _filled(surfaces, options, filled=False)


def _difference(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    if len(surfaces) != 2:
        raise UsageError(f"--kind difference needs two surfaces, {len(surfaces)} were given")
    if options.vmax is not None and options.vmax <= 0:
        raise UsageError(
            f"--vmax {options.vmax:g}: the colours of a difference reach as far below zero; give it above 0"
        )
    first, second = titles = _titles(surfaces, options, "difference")
    surface = difference(*surfaces)
    scale = diverging_scale(surface, limit=options.vmax, log=options.log, colours=options.cmap or DIVERGING)
    figure = panels([surface], [f"{second} − {first}"], scales=[scale], **options.page_for(1))
    drawing = [*_of_scale([scale], "dotted"), SMOOTHED]
    text = f"Loss of {second} minus loss of {first}. {caption(*surfaces, titles=titles, drawing=drawing)}"
    return Drawing(figure, text)


def _relief(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    titles, scale = _titles(surfaces, options, "relief"), options.scale(surfaces)
    view = options.view or best_view(surfaces, scale)
    figure = reliefs(surfaces, titles, scale=scale, view=view, **options.page_for(len(surfaces)))
    elevation, azimuth = map(plain, view)
    seen = f"Seen from elevation {elevation}° and azimuth {azimuth}°, shaded by a light from the left."
    drawing = [*_of_scale([scale], "grey"), seen]
    return Drawing(figure, caption(*surfaces, titles=titles, marked=False, drawing=drawing))


def _line(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    titles = _titles(surfaces, options, "line")
    figure = line_panels(
        surfaces, titles, limits=(options.vmin, options.vmax), **options.page_for(len(surfaces))
    )
    return Drawing(figure, caption(*surfaces, titles=titles))


def _basins(surfaces: Sequence[Surface], options: FigureOptions) -> Drawing:
    if len(surfaces) > 1:
        raise UsageError(f"--kind basins draws the basins of one surface, and {len(surfaces)} were given")
    (surface,) = surfaces
    tree = tree_of(surface)
    figure = basin_figure(surface, tree, **options.page_for(2))
    drawn, count = min(len(tree.basins), MOST_DRAWN), len(tree.basins)
    which = (
        f"The {drawn} deepest of {count} basins" if drawn < count else f"{count} basin{'s' * (count != 1)}"
    )
    drawing = [
        f"{which}, numbered by depth: minima (black dots), the saddles at which they join a deeper one (crosses), and "
        "the merge tree, with the doubt of a depth as a blue bar; what is not resolved is grey.",
        *basin_notes(surface, tree),
    ]
    return Drawing(figure, caption(surface, drawing=drawing))


def _of_scale(scales: Sequence[Scale], mark: str) -> Iterator[str]:
    """The sentences of a caption about scales: what is clipped, and where a symmetric logarithmic one is linear."""
    for scale in dict.fromkeys(scales):
        if isinstance(scale.norm, SymLogNorm):
            threshold = plain(scale.norm.linthresh)
            yield f"Symmetric logarithmic colours, linear between −{threshold} and {threshold}."
        below = f"below {plain(scale.levels[0])}" if scale.extend in ("min", "both") else ""
        above = f"above {plain(scale.levels[-1])}" if scale.extend in ("max", "both") else ""
        if below or above:
            yield f"Clipped and {mark}: values {' or '.join(filter(None, (below, above)))}."


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
    "relief": Kind(Surface, _relief),
    "difference": Kind(Surface, _difference),
    "line": Kind(Surface, _line),
    "basins": Kind(Surface, _basins),
    "history": Kind(Run, draw_history),
    "timeline": Kind(Run, draw_timeline),
    "dots": Kind(Run, draw_dots),
    "spectrum": Kind(Run, draw_spectrum),
    "quantiles": Kind(Run, draw_quantiles),
    "blocks": Kind(Run, draw_blocks),
}
"""The kinds by name. A new kind is a row here."""

_CONCERNED = {
    "cmap": ("filled", "contour", "relief", "difference", "page"),
    "view": ("relief",),
    "vmin": ("filled", "contour", "relief", "line", "page"),
    "vmax": ("filled", "contour", "relief", "difference", "line", "page"),
    "log": (
        "filled",
        "contour",
        "relief",
        "difference",
        "line",
        "basins",
        "page",
        "history",
        "timeline",
        "dots",
    ),
}
"""The kinds that an option is for, with the interactive ``page``; an option that would do nothing is refused."""
