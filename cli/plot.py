"""``landscape plot``: redraws saved surfaces; imports no torch."""

from collections.abc import Sequence
from pathlib import Path

import click

from . import options
from .help import ExamplesFirst


@click.command(name="plot", cls=ExamplesFirst)
@click.argument("files", nargs=-1, required=True, metavar="FILE.npz…", type=click.Path(path_type=Path))
@click.option("--title", "titles", multiple=True, help="Of a panel; repeatable, in the order of the files.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("surface.pdf"),
    show_default=True,
    help="The figure: .pdf, .svg or .png.",
)
@options.venue
@options.width
@options.config
def command(
    files: tuple[Path, ...], titles: tuple[str, ...], output: Path, venue: str, width: str | None
) -> None:
    """Redraws saved surfaces on one colour scale; never recomputes.

    \b
      landscape plot surface.npz -o surface.png
      landscape plot sgd.npz sam.npz --title SGD --title SAM --venue icml --width text -o both.pdf
    """
    for written in draw(files, output, venue=venue, width=width, titles=titles):
        click.echo(written)


def draw(
    files: Sequence[Path], output: Path, *, venue: str, width: str | None, titles: Sequence[str] = ()
) -> tuple[Path, ...]:
    """The figure of saved surfaces, its caption beside it; returns the files written.

    The width is the page's text width for several panels and one column for one, unless said otherwise.
    """
    from landscape.errors import UsageError
    from landscape.plotting import caption, panels, save_figure
    from landscape.surfaces.surface import Surface

    surfaces = [Surface.load(file) for file in files]
    if titles and len(titles) != len(surfaces):
        raise UsageError(f"{len(titles)} titles were given for {len(surfaces)} surfaces; give one each")
    names = list(titles) or [str(s.meta.get("label", f.stem)) for s, f in zip(surfaces, files, strict=True)]
    shown = names if len(surfaces) > 1 or titles else []
    figure = panels(
        surfaces,
        shown,
        venue=venue,
        width=width or ("text" if len(surfaces) > 1 else "column"),
    )
    return save_figure(figure, output, caption=caption(*surfaces, titles=shown))
