"""``landscape compare``: one table of many runs and seeds, with what it does and does not show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from landscape.comparison import Table, compare
from landscape.comparison.columns import PRESETS, Preset
from landscape.comparison.forms import FORMS, SUFFIXES, rendered
from landscape.comparison.intervals import Method
from landscape.comparison.predictors import TARGETS, Study, predictors
from landscape.comparison.runs import OF_HISTORY, RunSet, find_runs, from_history, require_fields
from landscape.comparison.selection import Conditions, select, splits
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
"""The measures if none is recorded and none requested."""


@dataclass(frozen=True)
class Question:
    """The flags that say what is compared."""

    by: str
    baseline: str | None
    preset: str | None
    against: str | None
    names: tuple[str, ...]
    interval: Method


@dataclass(frozen=True)
class Filling:
    """The flags that say how numbers which runs lack are measured."""

    measure_missing: bool
    device: str
    trust: bool
    quiet: bool

    def records(
        self, run_set: RunSet, names: Sequence[str] | None, conditions: Conditions, rows: Sequence[str]
    ) -> tuple[list[Estimate], list[str]]:
        """The records of all runs, with those that were missing, and remarks on what was left out."""
        selection = select(run_set.runs, names, conditions, default=DEFAULT, rows=rows)
        records, remarks = list(selection.records), list(selection.remarks)
        missing = selection.missing
        if missing and self.measure_missing:
            added, failures = take_missing(
                missing, selection.conditions, device=self.device, trust=self.trust, quiet=self.quiet
            )
            return records + added, remarks + failures
        if missing:
            lacking = ", ".join(dict.fromkeys(lack.measure.name for lack in missing))
            count = len({id(lack.run) for lack in missing})
            remarks.append(f"{lacking} is not measured of {count} runs (--no-measure-missing)")
        return records, remarks


@click.command(name="compare", cls=ExamplesFirst)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    *("--by", "--rows", "by"),
    default="optimizer",
    show_default=True,
    metavar="FIELD,…",
    help="Recipe field that defines the rows, or several.",
)
@click.option(
    "--baseline", metavar="ROW", help="Row that the others are compared with; by default the first."
)
@click.option(
    "--preset", metavar="NAME", help=f"Measures, split and headings of a paper's table: {', '.join(PRESETS)}."
)
@click.option(
    "--against",
    type=click.Choice(list(TARGETS)),
    help="Instead of a table: which measure on the train split predicts this over all runs, by Kendall's τ.",
)
@click.option(
    *("-M", "--measure", "names"),
    multiple=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help=f"Only this measure; repeatable. {', '.join(OF_HISTORY)} are read from the training history.",
)
@click.option("--split", type=click.Choice(["train", "test"]), help="Which examples.")
@click.option("--limit", type=click.IntRange(min=1), help="A fixed random subset of this many examples.")
@click.option(
    *("-b", "--batch-size"), type=click.IntRange(min=1), help="Examples per batch; 128 if none is recorded."
)
@click.option(
    "--batch-norm", type=click.Choice(["stored", "batch", "recalibrate"]), help="Batch-norm statistics."
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="Precision.")
@options.device
@options.trust
@click.option(
    "--measure-missing/--no-measure-missing",
    default=True,
    show_default=True,
    help="Measure what a run lacks, on the same examples and with the same probes for all.",
)
@click.option(
    "--interval",
    type=click.Choice(["t", "bootstrap"]),
    default="t",
    show_default=True,
    help="How the 95 % intervals are computed.",
)
@click.option(
    *("--format", "form"),
    type=click.Choice(list(FORMS)),
    help="Output format; by default a table, or what the suffix of --output implies.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write it here.")
@options.quiet
@options.config
@options.gathered(question=Question, conditions=Conditions, filling=Filling)
def command(
    runs: tuple[Path, ...],
    question: Question,
    conditions: Conditions,
    filling: Filling,
    form: str | None,
    output: Path | None,
) -> None:
    """Compares runs: a row per optimizer, means over seeds, differences paired by seed with 95 % intervals.

    \b
      landscape compare runs/demo --preset cr-sam
      landscape compare runs/* --split test --format latex -o table.tex

    What a run lacks is measured, on the same examples and with the same probes for all runs, and kept in its
    measures.jsonl. Unfinished runs are left out with a note.
    """
    paper = None if question.preset is None else PRESETS.build(question.preset)
    if paper is not None and question.against is not None:
        raise UsageError("--preset is a table and --against a correlation; leave one of them out")
    run_set = find_runs(runs)
    if run_set.unreadable:
        click.echo(f"{run_set.unreadable} lines could not be read and were skipped", err=True)
    measures = question.names or (None if paper is None else paper.measures)
    conditions = replace(conditions, split=conditions.split or _usual_split(question.against, paper, run_set))
    rows = [field.strip() for field in question.by.split(",") if field.strip()] or ["optimizer"]
    require_fields(run_set.runs, rows)
    # Asked before anything is measured, which may take hours.
    form = form or (SUFFIXES.get(options.writable(output).suffix, "table") if output else "table")
    records, remarks = filling.records(run_set, measures, conditions, rows)
    result: Table | Study
    if question.against is not None:
        target = TARGETS[question.against]
        outcomes: list[Estimate] = []
        for split in target.splits:
            on_split = replace(conditions, split=split)
            outcomes += filling.records(run_set, [target.measure], on_split, rows)[0]
        result = predictors(records, question.against, outcomes, method=question.interval)
    else:
        records += _of_history(run_set, measures or (), records)
        if not records:
            raise InputError(
                f"there is nothing to compare: {remarks[0] if remarks else 'no record was found'}"
            )
        remarks = [*run_set.remarks, *remarks]
        table = compare(records, rows, baseline=question.baseline, method=question.interval, remarks=remarks)
        result = _ordered(table, measures)
    text = rendered(result, form)
    for remark in run_set.remarks:
        click.echo(f"Note: {visible(remark)}", err=True)
    click.echo(text)
    if output is not None:
        write_whole(output, (text + "\n").encode())


def _usual_split(against: str | None, paper: Preset | None, run_set: RunSet) -> str:
    if against is not None:
        return "train"
    if paper is not None:
        return paper.split
    recorded = splits(run_set.runs)
    return recorded[0] if len(recorded) == 1 else "test"


def _of_history(run_set: RunSet, measures: Sequence[str], records: Sequence[Estimate]) -> list[Estimate]:
    """The requested quantities of the training of each run."""
    rows = []
    for run in run_set.runs:
        like = next((e.provenance for e in records if run.holds(e)), None)
        rows += [from_history(run, name, like) for name in measures if name in OF_HISTORY]
    return [row for row in rows if row is not None]


def _ordered(table: Table, measures: Sequence[str] | None) -> Table:
    """The table with its columns in the order in which they were requested."""
    if measures is None:
        return table
    order = [name.partition(":")[0] for name in measures]
    columns = sorted(table.columns, key=lambda column: order.index(column.partition(":")[0]))
    return replace(table, columns=tuple(columns))
