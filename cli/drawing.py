"""How figures look, by flags, and saved numbers in the form of a file's suffix: figure, interactive page, numbers."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from landscape.errors import UsageError
from landscape.records.storage import discard_parts

from . import options as common

if TYPE_CHECKING:
    from landscape.plotting.figure_options import FigureOptions
    from landscape.plotting.sources import Run
    from landscape.records.surface import Surface

PICTURES = (".pdf", ".svg", ".png")


def _pair(separator: str, example: str) -> Callable[..., tuple[float, float] | None]:
    """Reads two numbers with a separator between them."""

    def read(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, float] | None:
        if text is None:
            return None
        try:
            first, second = (float(part) for part in text.split(separator))
        except ValueError:
            raise UsageError(f"{parameter.opts[0]} {text} is not two numbers such as {example}") from None
        return first, second

    return read


_FLAGS = [
    common.venue,
    common.width,
    common.flag(
        "--size",
        metavar="WxH",
        callback=_pair("x", "3.25x2.5"),
        help="Width and height of the figure in inches, instead of the venue's.",
    ),
    common.flag("--dpi", type=int, help="Dots per inch; default: 300, and 600 for images in .pdf and .svg."),
    common.flag(
        "--cmap", metavar="NAME", help="Colour map of matplotlib; default: viridis, RdBu_r for differences."
    ),
    common.flag(
        "--view",
        metavar="ELEV,AZIM",
        callback=_pair(",", "35,-60"),
        help="Viewpoint of a relief in degrees; default: one from which its valley is visible.",
    ),
    common.flag("--vmin", type=float, help="The lowest loss of the colours, heights or axis."),
    common.flag("--vmax", type=float, help="The highest loss; losses beyond either limit are marked."),
    common.flag("--log/--linear", "log", help="Scale of the losses; default: chosen from their range."),
]


def look_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of how figures look, passed with a command's own ones as ``look``, its :class:`FigureOptions`."""

    @functools.wraps(function)
    def command(*arguments: Any, **flags: Any) -> Any:
        # Imported here, because matplotlib would slow down every other command by half a second.
        from dataclasses import fields

        from landscape.plotting.figure_options import FigureOptions

        names = [field.name for field in fields(FigureOptions) if field.name in flags]
        return function(*arguments, look=FigureOptions(**{name: flags.pop(name) for name in names}), **flags)

    return functools.reduce(lambda decorated, flag: flag(decorated), reversed(_FLAGS), command)


def write_drawing(
    sources: "Sequence[Surface | Run]",
    output: Path,
    options: "FigureOptions",
    *,
    kind: str | None = None,
    font: str | None = None,
) -> tuple[Path, ...]:
    """Writes sources as the suffix of ``output`` says, with captions beside figures.

    Parts of the same files that a killed process has left are removed.

    Args:
        sources: Surfaces or runs.
        output: The figure, the page, or the numbers; of several surfaces, the numbers go into numbered files.
        options: Options of a figure.
        kind: Kind of a figure; by default the one that suits the sources.
        font: Font of a figure.

    Returns:
        The files written.

    Raises:
        UsageError: Runs cannot be written as a page or as numbers, or an ``.npz`` exists already.
    """
    from landscape.plotting.kinds import check_look, draw_figure
    from landscape.plotting.save import save_figure
    from landscape.plotting.style import paper
    from landscape.records.surface import Surface
    from landscape.surfaces.export import EXPORTS

    suffix = output.suffix.lower()
    surfaces = [source for source in sources if isinstance(source, Surface)]
    if suffix in (".npz", ".html", *EXPORTS) and len(surfaces) < len(sources):
        raise UsageError(f"{output}: {suffix} is for surfaces; end it in {', '.join(PICTURES)}")
    files: tuple[Path, ...]
    if suffix == ".html":
        from landscape.plotting.interactive import save_page

        check_look("page", options)
        scale = options.scale(surfaces)
        files = (save_page(surfaces, options.titles_for(surfaces), output, scale=scale),)
    elif suffix in (".npz", *EXPORTS):
        files = tuple(numbered(output, len(surfaces)))
        for surface, file in zip(surfaces, files, strict=True):
            # Existing numbers may have taken hours, and drawing must not cost them.
            if suffix == ".npz" and file.exists():
                raise UsageError(f"{file} exists and is not overwritten; choose another name with -o")
            (Surface.save if suffix == ".npz" else EXPORTS[suffix])(surface, file)
    else:
        with paper(font):
            drawing = draw_figure(sources, options, kind)
            files = save_figure(drawing.figure, output, caption=drawing.caption, dpi=options.dpi)
    for file in files:
        discard_parts(file)
    return files


def numbered(output: Path, count: int) -> list[Path]:
    """One file for each of ``count`` surfaces: ``s.npz``, or ``s-1.npz``, ``s-2.npz``, …."""
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{k + 1}{output.suffix}") for k in range(count)]
