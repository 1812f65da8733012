"""``landscape compare``: runs and seeds to one table that says what may be said."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from landscape.comparison import Table, compare
from landscape.comparison.forms import FORMS, SUFFIXES
from landscape.comparison.intervals import Method
from landscape.comparison.predictors import TARGETS, predictors
from landscape.comparison.presets import PRESETS
from landscape.comparison.runs import OF_HISTORY, Found, find_runs, from_history, require_fields
from landscape.comparison.selection import Conditions, Selection, select, splits
from landscape.errors import InputError, UsageError
from landscape.records.estimate import Estimate
from landscape.records.storage import write_whole
from landscape.tables.escaping import visible

from . import options
from .help import ExamplesFirst
from .missing import take_missing

DEFAULT = (
    *("accuracy", "loss", "gradient-norm", "surrogate-gap", "dominant-eigenvalue:method=lanczos"),
    "hessian-trace",
)
"""What is measured where nothing is recorded and nothing asked for."""


@click.command(name="compare", cls=ExamplesFirst)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    "--by",
    "--rows",
    "by",
    default="optimizer",
    show_default=True,
    metavar="FIELD,…",
    help="What makes the rows: a field of the recipe, or several.",
)
@click.option(
    "--baseline", metavar="ROW", help="The row that others are compared with; the first by default."
)
@click.option(
    "--preset",
    metavar="NAME",
    help="A paper's table: " + ", ".join(PRESETS) + "; measures, split and headings.",
)
@click.option(
    "--against",
    type=click.Choice(list(TARGETS)),
    help="Instead: which measure predicts this over all runs, by Kendall's τ; measures are of the train split.",
)
@click.option(
    "-M",
    "--measure",
    "names",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help=f"Only this measure; repeatable. Also {', '.join(OF_HISTORY)} of the training.",
)
@click.option("--split", type=click.Choice(["train", "test"]), help="Which examples.")
@click.option("--limit", type=click.IntRange(min=1), help="A fixed random subset of so many examples.")
@click.option(
    "-b", "--batch-size", type=click.IntRange(min=1), help="Examples a batch; 128 where none are recorded."
)
@click.option(
    "--batch-norm", type=click.Choice(["stored", "batch", "recalibrate"]), help="Which batch-norm statistics."
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="Precision.")
@options.device
@options.trust
@click.option(
    "--measure-missing/--no-measure-missing",
    default=True,
    show_default=True,
    help="Measure what runs lack, on the same examples and with the same probes for all.",
)
@click.option(
    "--interval",
    type=click.Choice(["t", "bootstrap"]),
    default="t",
    show_default=True,
    help="How the 95 % intervals are made.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "md", "latex"]),
    default=None,
    help="What to print; by default a table, or what the suffix of --output says.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write it here.")
@options.quiet
@options.config
def command(
    runs: tuple[Path, ...],
    by: str,
    baseline: str | None,
    preset: str | None,
    against: str | None,
    names: tuple[str, ...],
    split: str | None,
    limit: int | None,
    batch_size: int | None,
    batch_norm: str | None,
    dtype: str | None,
    device: str,
    trust: bool,
    measure_missing: bool,
    interval: Method,
    form: str | None,
    output: Path | None,
    quiet: bool,
) -> None:
    """Compares runs: a row an optimizer, means over seeds, differences paired by seed with 95 % intervals.

    \b
      landscape compare runs/demo --preset cr-sam
      landscape compare runs/* --split test --format latex -o table.tex

    What a run lacks is measured, on the same examples and with the same probes for all, and kept in its
    measures.jsonl. Runs that are not finished are left out, and it is said.
    """
    paper = None if preset is None else PRESETS.build(preset)
    if paper is not None and against is not None:
        raise UsageError("--preset is a table and --against a correlation; leave one of them out")
    found = find_runs(runs)
    if found.unreadable:
        click.echo(f"{found.unreadable} lines could not be read and were skipped", err=True)
    wanted = list(names) or (None if paper is None else list(paper.measures))
    there = splits(found.runs)
    usual = "train" if against else paper.split if paper else there[0] if len(there) == 1 else "test"
    conditions = Conditions(split or usual, limit, batch_size, batch_norm, dtype)
    rows = [field.strip() for field in by.split(",") if field.strip()] or ["optimizer"]
    require_fields(found.runs, rows)

    def take(names: Sequence[str] | None, under: Conditions) -> tuple[list[Estimate], list[str]]:
        chosen = select(found.runs, names, under, default=DEFAULT, rows=rows)
        return _filled(chosen, fill=measure_missing, device=device, trust=trust, quiet=quiet)

    kind = form or (SUFFIXES.get(options.writable(output).suffix, "table") if output else "table")
    taken, remarks = take(wanted, conditions)
    if against is not None:
        outcomes: list[Estimate] = []
        for part in TARGETS[against].splits:
            whole = Conditions(part, limit, batch_size, batch_norm, dtype)
            outcomes += take([TARGETS[against].measure], whole)[0]
        text = FORMS[kind](predictors(taken, against, outcomes, method=interval))
    else:
        taken += _of_history(found, wanted or (), taken)
        if not taken:
            raise InputError(
                f"there is nothing to compare: {remarks[0] if remarks else 'no record was found'}"
            )
        looks = {} if paper is None else paper.looks
        said = (*found.remarks, *remarks)
        table = compare(taken, rows, baseline=baseline, method=interval, looks=looks, remarks=said)
        text = FORMS[kind](_ordered(table, wanted))
    for remark in found.remarks:
        click.echo(f"Note: {visible(remark)}", err=True)
    text = text.rstrip("\n")
    click.echo(text)
    if output is not None:
        write_whole(output, (text + "\n").encode())


def _filled(
    selection: Selection, *, fill: bool, device: str, trust: bool, quiet: bool
) -> tuple[list[Estimate], list[str]]:
    """The chosen records, and those that were missing."""
    taken, remarks = list(selection.chosen), list(selection.remarks)
    if selection.missing and fill:
        more, failures = take_missing(
            selection.missing, selection.conditions, device=device, trust=trust, quiet=quiet
        )
        taken += more
        remarks += failures
    elif selection.missing:
        runs = len({id(lack.run) for lack in selection.missing})
        lacking = ", ".join(dict.fromkeys(lack.wanted.name for lack in selection.missing))
        remarks.append(f"{lacking} is not measured of {runs} runs (--no-measure-missing)")
    return taken, remarks


def _of_history(found: Found, wanted: Sequence[str], taken: Sequence[Estimate]) -> list[Estimate]:
    """What is asked for of the training of each run."""
    rows = []
    for run in found.runs:
        like = next((e.provenance for e in taken if run.holds(e)), None)
        rows += [from_history(run, name, like) for name in wanted if name in OF_HISTORY]
    return [row for row in rows if row is not None]


def _ordered(table: Table, wanted: Sequence[str] | None) -> Table:
    """The columns in the order in which they were asked for."""
    if wanted is None:
        return table
    order = [name.partition(":")[0] for name in wanted]
    columns = sorted(table.columns, key=lambda column: order.index(column.partition(":")[0]))
    return dataclasses.replace(table, columns=tuple(columns))
