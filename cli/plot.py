"""``landscape plot``: draws saved numbers; imports no torch."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from . import options
from .help import ExamplesFirst


def _numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...]:
    from landscape.errors import UsageError

    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--levels {text} is not a list of numbers such as 0.1,1,10") from None


@click.command(name="plot", cls=ExamplesFirst)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    metavar="KIND",
    help="filled, contour, relief, difference, line; history, dots, spectrum, quantiles; by default what suits.",
)
@click.option("--title", "titles", multiple=True, help="Of a panel; repeatable, in the order of the files.")
@click.option("--levels", callback=_numbers, metavar="L,L,…", help="The losses that contours are drawn at.")
@click.option(
    "--shared-scale/--own-scales",
    "shared",
    default=True,
    show_default=True,
    help="One colour scale for all panels, or one each.",
)
@click.option("-M", "--measure", "measures", multiple=True, help="What is drawn of runs; repeatable.")
@click.option(
    "--over",
    type=click.Choice(["epoch", "step", "gradients", "seconds"]),
    default="epoch",
    show_default=True,
    help="What is on the horizontal axis of a history.",
)
@click.option("--split", type=click.Choice(["train", "test"]), default=None, help="Which records of runs.")
@click.option("--font", metavar="NAME", help="Instead of STIXGeneral, which is always there.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="The figure: .pdf, .svg, .png, or .html to turn surfaces with the mouse.  [default: surface.pdf or KIND.pdf]",
)
@options.venue
@options.width
@options.config
def command(
    files: tuple[Path, ...],
    kind: str | None,
    titles: tuple[str, ...],
    levels: tuple[float, ...],
    shared: bool,
    measures: tuple[str, ...],
    over: str,
    split: str | None,
    font: str | None,
    output: Path | None,
    venue: str,
    width: str | None,
) -> None:
    """Draws saved surfaces, measures and histories of runs; never recomputes.

    \b
      landscape plot sgd.npz sam.npz --title SGD --title SAM --venue icml --width text -o both.pdf
      landscape plot runs/* --kind history -M accuracy --over gradients -o accuracy.pdf

    Files are told apart by what they hold: surfaces (.npz), measures.jsonl, history.jsonl, folders of runs.
    """
    from landscape.plotting.kinds import draw_figure, suitable
    from landscape.plotting.save import save_figure
    from landscape.plotting.sources import read_source
    from landscape.plotting.style import paper
    from landscape.plotting.wish import Wish
    from landscape.surfaces.surface import Surface

    sources, names = [], []
    for file in files:
        found = read_source(file)
        sources += found
        names += [file.stem] * len(found)
    if output is None:
        drawn = kind or suitable(sources)
        output = Path("surface.pdf" if drawn == "filled" else f"{drawn}.pdf")
    wish = Wish(
        venue=venue,
        width=width,  # type: ignore[arg-type]
        titles=titles,
        names=names,
        levels=levels,
        shared=shared,
        measures=measures,
        over=over,  # type: ignore[arg-type]
        split=split,
        command=shlex.join(["landscape", *sys.argv[1:]]),
    )
    if output.suffix.lower() == ".html":
        from landscape.plotting.interactive import save_page

        surfaces = [source for source in sources if isinstance(source, Surface)]
        click.echo(
            save_page(surfaces if len(surfaces) == len(sources) else [], wish.titles_for(surfaces), output)
        )
        return
    with paper(font):
        drawing = draw_figure(sources, wish, kind)
    for written in save_figure(drawing.figure, output, caption=drawing.caption):
        click.echo(written)


def draw(
    files: Sequence[Path], output: Path, *, venue: str, width: str | None, titles: Sequence[str] = ()
) -> tuple[Path, ...]:
    """The figure of saved surfaces, its caption beside it; returns the files written.

    The width is the page's text width for several panels and one column for one, unless said otherwise.
    """
    from landscape.plotting.kinds import draw_figure
    from landscape.plotting.save import save_figure
    from landscape.plotting.wish import Wish
    from landscape.surfaces.surface import Surface

    wish = Wish(
        venue=venue,
        width=width,  # type: ignore[arg-type]
        titles=titles,
        names=[file.stem for file in files],
    )
    drawing = draw_figure([Surface.load(file) for file in files], wish)
    return save_figure(drawing.figure, output, caption=drawing.caption)
