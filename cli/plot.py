"""``landscape plot``: draws saved numbers without recomputing them; imports no torch."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape.errors import InputError

from . import options
from .drawing import look_flags, write_drawing
from .help import ExamplesFirst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from landscape.plotting.figure_options import FigureOptions
    from landscape.plotting.sources import Run
    from landscape.records.surface import Surface


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
    help="filled, contour, relief, difference, line, basins; history, timeline, dots, spectrum, quantiles, blocks; by "
    "default what fits.",
)
@click.option(
    "--title", "titles", multiple=True, help="Title of a panel; repeatable, in the order of the files."
)
@click.option("--levels", callback=_numbers, metavar="L,L,…", help="Losses of the contour lines.")
@click.option(
    "--shared-scale/--own-scales",
    "shared",
    default=True,
    show_default=True,
    help="One colour scale for all panels, or one each.",
)
@options.measures(
    "measures", help="Quantities of runs to draw; by default loss and accuracy, or all measures."
)
@click.option(
    "--over",
    type=click.Choice(["epoch", "step", "gradients", "seconds"]),
    default="epoch",
    show_default=True,
    help="Horizontal axis of a history.",
)
@click.option("--split", type=click.Choice(["train", "test"]), help="Split of the records of runs.")
@click.option("--font", metavar="NAME", help="Font; by default STIXGeneral, which comes with matplotlib.")
@click.option(
    *("-o", "--output"),
    type=click.Path(dir_okay=False, path_type=Path),
    help="A figure (.pdf, .svg, .png), an interactive page of surfaces (.html), or numbers (.npz, .csv, .vts, .nc).  "
    "[default: surface.pdf or KIND.pdf]",
)
@options.config
@look_flags
def command(
    files: tuple[Path, ...], kind: str | None, font: str | None, output: Path | None, look: "FigureOptions"
) -> None:
    """Draws saved surfaces, measures and histories of runs; never recomputes.

    \b
      landscape plot sgd.npz sam.npz --title SGD --title SAM -o both.pdf
      landscape plot runs/* --kind history -M accuracy -o accuracy.pdf

    Files are recognised by their content: surfaces (.npz), measures.jsonl, history.jsonl, folders of runs, and
    surfaces of tomgoldstein/loss-landscape (.h5) and of Landscaper (.npz). --kind basins also prints the minima,
    the saddles at which they join, and their depth.
    """
    from landscape.plotting.kinds import suitable
    from landscape.plotting.sources import read_source

    pairs = [(source, file.stem) for file in files for source in read_source(file)]
    if not pairs:
        raise InputError("nothing can be drawn yet: no run has a complete epoch or a record of a measure")
    sources, names = [source for source, _ in pairs], [name for _, name in pairs]
    if output is None:
        drawn = kind or suitable(sources, look)
        output = Path("surface.pdf" if drawn == "filled" else f"{drawn}.pdf")
    # Quoted, so that the command in the caption can be pasted into a shell.
    typed = shlex.join(["landscape", *sys.argv[1:]])
    look = replace(look, names=names, command=typed)
    written = write_drawing(sources, output, look, kind=kind, font=font)
    if kind == "basins":
        _print_basins(sources)
    for path in written:
        click.echo(path)


def _print_basins(sources: "Sequence[Surface | Run]") -> None:
    """Prints the table of the basins of a surface."""
    from landscape.records.surface import Surface
    from landscape.surfaces.merge_tree import basin_table, tree_of
    from landscape.tables import WIDTH

    for source in sources:
        if isinstance(source, Surface):
            click.echo(basin_table(source, tree_of(source)).text(width=WIDTH) + "\n")
