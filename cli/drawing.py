"""Saved numbers in the form that a file's suffix asks for: a figure, an interactive page, or numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.errors import UsageError
from landscape.records.storage import discard_parts

if TYPE_CHECKING:
    from landscape.plotting.figure_options import FigureOptions
    from landscape.plotting.sources import Run
    from landscape.records.surface import Surface

PICTURES = (".pdf", ".svg", ".png")


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
    # Imported here, because matplotlib would slow down every other command by half a second.
    from landscape.plotting.kinds import draw_figure
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

        files = (save_page(surfaces, options.titles_for(surfaces), output),)
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
            files = save_figure(drawing.figure, output, caption=drawing.caption)
    for file in files:
        discard_parts(file)
    return files


def numbered(output: Path, count: int) -> list[Path]:
    """One file for each of ``count`` surfaces: ``s.npz``, or ``s-1.npz``, ``s-2.npz``, …."""
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{k + 1}{output.suffix}") for k in range(count)]
