"""``landscape plot``: draws saved numbers; imports no torch."""

import shlex
import sys
from pathlib import Path

import click

from . import options
from .drawing import write_drawing
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
    help="The figure (.pdf, .svg, .png), a page to turn surfaces on (.html), or numbers (.npz, .csv, .vts, .nc).  "
    "[default: surface.pdf or KIND.pdf]",
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

    Files are told apart by what they hold: surfaces (.npz), measures.jsonl, history.jsonl, folders of runs; surfaces of
    tomgoldstein/loss-landscape (.h5) and of Landscaper (.npz), too.
    """
    from landscape.plotting.kinds import suitable
    from landscape.plotting.sources import read_source
    from landscape.plotting.wish import Wish

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
    for written in write_drawing(sources, output, wish, kind=kind, font=font):
        click.echo(written)
