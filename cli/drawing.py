"""Saved numbers as what the ending of a file asks for: a figure, a page, or numbers for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.errors import UsageError
from landscape.records.storage import discard_parts

if TYPE_CHECKING:
    from landscape.plotting.sources import Run
    from landscape.plotting.wish import Wish
    from landscape.records.surface import Surface

PICTURES = (".pdf", ".svg", ".png")


def write_drawing(
    sources: "Sequence[Surface | Run]",
    output: Path,
    wish: "Wish",
    *,
    kind: str | None = None,
    font: str | None = None,
) -> tuple[Path, ...]:
    """Writes what was read as the ending of ``output`` says, captions beside figures.

    What a process that was killed has left of the same files is removed.

    Args:
        sources: Surfaces, or runs.
        output: The figure, the page, or the numbers; several surfaces are numbered.
        wish: How a figure should look.
        kind: Of figure; by default what suits.
        font: Of a figure, instead of the usual one.

    Returns:
        The files written.

    Raises:
        UsageError: Runs as a page or as numbers, or an ``.npz`` that is there.
    """
    written = _written(sources, output, wish, kind, font)
    for place in written:
        discard_parts(place)
    return written


def _written(
    sources: "Sequence[Surface | Run]", output: Path, wish: "Wish", kind: str | None, font: str | None
) -> tuple[Path, ...]:
    from landscape.plotting.kinds import draw_figure
    from landscape.plotting.save import save_figure
    from landscape.plotting.style import paper
    from landscape.records.surface import Surface
    from landscape.surfaces.export import EXPORTS

    suffix = output.suffix.lower()
    if suffix in (".npz", ".html", *EXPORTS):
        surfaces = [source for source in sources if isinstance(source, Surface)]
        if len(surfaces) < len(sources):
            raise UsageError(f"{output}: {suffix} is for surfaces; end it in {', '.join(PICTURES)}")
        if suffix == ".html":
            from landscape.plotting.interactive import save_page

            return (save_page(surfaces, wish.titles_for(surfaces), output),)
        places = numbered(output, len(surfaces))
        for surface, place in zip(surfaces, places, strict=True):
            if suffix == ".npz":
                _save_new(surface, place)
            else:
                EXPORTS[suffix](surface, place)
        return tuple(places)
    with paper(font):
        drawing = draw_figure(sources, wish, kind)
    return save_figure(drawing.figure, output, caption=drawing.caption)


def numbered(output: Path, count: int) -> list[Path]:
    """One file for each of ``count`` surfaces: ``s.npz``, or ``s-1.npz``, ``s-2.npz``, ….

    The number stands before the ending.
    """
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{k + 1}{output.suffix}") for k in range(count)]


def _save_new(surface: "Surface", place: Path) -> None:
    # What is there may have taken hours, and drawing is not to cost it.
    if place.exists():
        raise UsageError(f"{place} is there and is not written over; choose another name with -o")
    surface.save(place)
