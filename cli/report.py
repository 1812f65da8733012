"""``landscape report``: one page of runs and surfaces, of what is on disk; imports no torch."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape.comparison import Table
from landscape.comparison.request import DEFAULT, Column, columns
from landscape.comparison.runs import require_fields, require_rows
from landscape.comparison.selection import Conditions
from landscape.errors import UsageError
from landscape.records.storage import write_whole
from landscape.registry.extras import install
from landscape.registry.names import SPLITS
from landscape.tables.escaping import visible

from . import options
from .gathering import Gathered, Gathering
from .help import ExamplesFirst
from .missing import Measuring

if TYPE_CHECKING:
    from landscape.report import Material


@dataclass(frozen=True)
class Numbers:
    """The flags for the rows, the columns and the records of the table."""

    by: str
    baseline: str | None
    names: tuple[str, ...]
    split: str | None
    limit: int | None
    batch: options.BatchSize | None
    batch_norm: str | None
    dtype: str | None
    parameters: str | None

    @property
    def rows(self) -> list[str]:
        """The fields that define the rows."""
        return options.listed(self.by)

    @property
    def conditions(self) -> Conditions:
        """Which records are used, on any split."""
        size = None if self.batch is None else self.batch[0]
        parameters = None if self.parameters is None else ",".join(options.listed(self.parameters))
        return Conditions(None, self.limit, size, self.batch_norm, self.dtype, parameters)

    def gathered(self, material: "Material") -> Gathered | None:
        """The records of the runs; ``None`` if there are none. Nothing is measured."""
        runs = material.found.runs
        require_fields(runs, self.rows)
        require_rows(runs, self.rows, self.baseline)
        if not any(run.estimates for run in runs):
            return None
        source = options.Source(None, None, None, None, None, (), (), trust=False)
        measuring = Measuring(source, "cpu", (128, None), strict=False, quiet=True)
        gathering = Gathering(
            runs,
            self.rows,
            self.conditions,
            measuring,
            verified=False,
            measure_missing=False,
            unmeasured="a report measures nothing",
        )
        found = gathering.gathered(self._columns(), is_default=not self.names)
        return found if found.records else None

    def _columns(self) -> tuple[Column, ...]:
        texts = self.names or tuple(DEFAULT)
        return columns(texts, SPLITS if self.split in (None, "both") else (str(self.split),))


@click.command(name="report", cls=ExamplesFirst)
@click.argument("paths", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    *("--by", "--rows", "by"),
    default="optimizer",
    show_default=True,
    metavar="FIELD,…",
    help="Recipe field that defines the rows, or several.",
)
@click.option("--baseline", metavar="ROW", help="Row that the others are compared with; default: the first.")
@options.measures("names", help="Only these columns, as in landscape compare; default: all on record.")
@click.option("--split", type=click.Choice([*SPLITS, "both"]), help="Examples of -M; default: both.")
@options.limit
@click.option(
    *("-b", "--batch-size", "batch"),
    callback=options.batch_size,
    metavar="N|auto",
    help="Records with batches of this size.",
)
@options.batch_norm(None)
@options.precision
@options.parameters
@click.option(
    "--turn/--no-turn",
    default=None,
    help="Surfaces that can be turned, 5 MB more; default: where plotly is installed.",
)
@click.option(
    *("--format", "form"),
    type=click.Choice(["html", "md"]),
    help="Output format; default: what --output implies.",
)
@click.option(
    *("-o", "--output"),
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file.  [default: report.html or report.md]",
)
@options.config
@options.gathered(numbers=Numbers)
def command(
    paths: tuple[Path, ...], numbers: Numbers, turn: bool | None, form: str | None, output: Path | None
) -> None:
    """Writes one page of runs, checkpoints and surfaces, which needs no network; computes nothing.

    \b
      landscape report runs/demo -o report.html
      landscape report runs/* sgd.npz sam.npz -o report.md

    It has the table with verdicts, curves over training, surfaces on one scale, spectra, Q–Q plots, recipes and their
    differences, provenance and commands. Surfaces around the checkpoints are found in and beside the folders. For
    what is not on disk it names the command that computes it.
    """
    from landscape.plotting.interactive import plotly_source
    from landscape.report import Request, markdown, page, read_material, report

    form = form or ("md" if output and output.suffix == ".md" else "html")
    output = options.writable(output or Path(f"report.{form}"))
    plotly = None if form == "md" or turn is False else plotly_source()
    if turn and form == "html" and plotly is None:
        raise UsageError(f"--turn: plotly is not installed; {install('html')} installs it")
    material = read_material(paths, numbers.rows)
    if material.found.unreadable:
        click.echo(f"{material.found.unreadable} lines could not be read and were skipped", err=True)
    gathered = numbers.gathered(material)
    table: Table | None = None
    if gathered is not None:
        remarks = [*material.found.remarks, *gathered.remarks]
        table = gathered.table(numbers.rows, baseline=numbers.baseline, remarks=remarks)
    for remark in material.remarks:
        click.echo(f"Note: {visible(remark)}", err=True)
    typed = shlex.join(["landscape", *sys.argv[1:]])
    content = report(Request(material, table, gathered.records if gathered else (), typed))
    text = markdown(content) if form == "md" else page(content, plotly=plotly)
    write_whole(output, text.encode("utf-8", "replace"))
    click.echo(output)
