"""``landscape compare``: one table of many runs and seeds, with what it does and does not show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from landscape.comparison import Table
from landscape.comparison.alike import ROW
from landscape.comparison.columns import PRESETS
from landscape.comparison.forms import FORMS, SUFFIXES, Rendering, rendered
from landscape.comparison.groups import from_groups, from_table, seeds_in_words
from landscape.comparison.intervals import Method
from landscape.comparison.predictors import TARGETS, Study, predictors
from landscape.comparison.request import DEFAULT, DERIVED, SHARPNESS, Column, columns
from landscape.comparison.runs import OF_HISTORY, RunSet, find_runs, require_fields, require_rows
from landscape.comparison.selection import Conditions
from landscape.errors import InputError, UsageError
from landscape.processes import refuse_joint_command
from landscape.records.storage import write_whole
from landscape.registry.names import SPLITS, split_of
from landscape.registry.venues import VENUES
from landscape.tables.escaping import visible

from . import options
from .gathering import Gathered, Gathering
from .groups import member_runs, with_recipes
from .help import ExamplesFirst
from .missing import Measuring


@dataclass(frozen=True)
class Subjects:
    """The flags for the compared checkpoints and the rows."""

    runs: tuple[Path, ...]
    groups: tuple[str, ...]
    table: Path | None
    seed_from: str | None
    by: str | None
    baseline: str | None

    @property
    def rows(self) -> list[str]:
        """The fields that define the rows."""
        default = "optimizer" if self.runs else ROW
        return [name.strip() for name in (self.by or "").split(",") if name.strip()] or [default]

    def run_set(self, source: options.Source, *, to_measure: bool, quiet: bool) -> RunSet:
        """The runs behind the flags."""
        kinds = {"RUN…": self.runs, "--group": self.groups, "--runs": self.table}
        present = [name for name, value in kinds.items() if value]
        if not present:
            raise UsageError(
                "nothing to compare: give runs of `landscape train`, the checkpoints of each row (--group "
                "'SGD=own/sgd-*'), or a table of them (--runs table.csv)"
            )
        if len(present) > 1:
            raise UsageError(
                f"{' and '.join(present)} cannot be combined; a run can be in a group too, in quotes because of the "
                "shell: --group 'SAM=runs/sam-*'"
            )
        if self.seed_from is not None and not self.groups:
            raise UsageError("--seed-from reads the names of a --group; elsewhere the seed is known already")
        if self.runs:
            return with_recipes(find_runs(self.runs), source)
        members = from_table(self.table) if self.table else from_groups(self.groups, self.seed_from)
        if self.groups and not quiet:
            click.echo(visible(seeds_in_words(members)), err=True)
        return member_runs(members, source, any_network="model" in self.rows, to_measure=to_measure)


@dataclass(frozen=True)
class Question:
    """The flags for the compared quantities and their intervals."""

    preset: str | None
    against: str | None
    names: tuple[str, ...]
    interval: Method


@dataclass(frozen=True)
class Where:
    """The flags for the examples and the settings of a measurement."""

    split: str | None
    limit: int | None
    batch: options.BatchSize | None
    batch_norm: str | None
    dtype: str | None
    parameters: str | None
    device: str

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of a measure that names none."""
        return SPLITS if self.split == "both" else (self.split or "train",)

    @property
    def conditions(self) -> Conditions:
        """The conditions of a record, on any split."""
        size = None if self.batch is None else self.batch[0]
        parameters = None if self.parameters is None else ",".join(options.listed(self.parameters))
        return Conditions(None, self.limit, size, self.batch_norm, self.dtype, parameters)


@dataclass(frozen=True)
class Filling:
    """The flags for numbers that are not on record."""

    measure_missing: bool
    dry_run: bool


@click.command(name="compare", cls=ExamplesFirst)
@click.argument("runs", nargs=-1, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    *("--group", "groups"),
    multiple=True,
    metavar="ROW=PATTERN,…",
    help="Instead of runs: checkpoints of any origin that are one row, such as 'SGD=own/sgd-*'; repeatable.",
)
@click.option(
    *("--runs", "table"),
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Instead of runs: a table with the columns checkpoint, row, seed, and any others for --by.",
)
@click.option(
    "--seed-from",
    metavar="REGEX",
    help="The first group of this is the seed in a path of --group; by default the number that differs.",
)
@click.option(
    *("--by", "--rows", "by"),
    metavar="FIELD,…",
    help="Recipe field or column of --runs that defines the rows, or several.  [default: optimizer]",
)
@click.option(
    "--baseline", metavar="ROW", help="Row that the others are compared with; by default the first."
)
@click.option(
    "--preset",
    metavar="NAME",
    help=f"Measures, splits and headings of a paper's table: {', '.join(PRESETS)}.",
)
@click.option(
    "--against",
    type=click.Choice(list(TARGETS)),
    help="Instead of a table: which measure predicts this over all runs, by Kendall's τ.",
)
@options.measures(
    "names",
    help="Only these columns, repeatable, each with its split in front if need be: test:accuracy. "
    f"{', '.join(DERIVED)} are differences of two splits, {', '.join(OF_HISTORY)} are of the training.",
)
@click.option(
    "--split",
    type=click.Choice([*SPLITS, "both"]),
    help="Examples of measures that name no split.  [default: train]",
)
@options.limit
@click.option(
    *("-b", "--batch-size", "batch"),
    callback=options.batch_size,
    metavar="N|auto",
    help="Examples a batch; 128 if none is recorded.",
)
@options.batch_norm(None)
@options.precision
@options.parameters
@options.device
@options.source_flags
@click.option(
    "--measure-missing/--no-measure-missing",
    default=True,
    show_default=True,
    help="Measure what a run lacks, on the same examples and with the same probes for all.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be measured and the expected time.")
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
@click.option(
    *("--label", "labels"),
    multiple=True,
    metavar="ROW=NAME",
    help="Another name for a row than papers write, such as 'sgd=SGD baseline'; repeatable. JSON and CSV keep ROW.",
)
@click.option(
    "--venue",
    type=click.Choice(list(VENUES)),
    default="neurips",
    show_default=True,
    help="The venue whose page a LaTeX table fits.",
)
@click.option(
    "--verbose",
    is_flag=True,
    help="Also print every verdict in words, the leads, outliers, sampling errors and what chance alone would give.",
)
@options.quiet
@options.config
@options.gathered(subjects=Subjects, question=Question, where=Where, filling=Filling, rendering=Rendering)
def command(
    subjects: Subjects,
    question: Question,
    where: Where,
    filling: Filling,
    source: options.Source,
    rendering: Rendering,
    form: str | None,
    output: Path | None,
    quiet: bool,
) -> None:
    """Compares checkpoints: a row per optimizer, means over seeds, differences paired by seed with 95 % intervals.

    \b
      landscape compare runs/demo --preset cr-sam
      landscape compare --group 'SGD=sgd-*' --group 'SAM=sam-*' --task ./own.py:task

    Runs of `landscape train` say what they are; of other checkpoints the groups are the rows. Without -M the columns
    are the accuracy on test, the generalization gap and six measures on train. What is not in the measures.jsonl
    beside a checkpoint is measured, on the same examples and with the same probes for all, and kept there.
    """
    refuse_joint_command(
        "compare", instead="measure first what is missing: landscape measure divides its work over processes"
    )
    if question.preset is not None and question.against is not None:
        raise UsageError("--preset is a table and --against a correlation; leave one of them out")
    requested = _requested(question, where)
    run_set = subjects.run_set(source, to_measure=filling.measure_missing, quiet=quiet)
    if run_set.unreadable:
        click.echo(f"{run_set.unreadable} lines could not be read and were skipped", err=True)
    # Asked before anything is measured, which may take hours.
    require_fields(run_set.runs, subjects.rows)
    if question.against is None:
        known = require_rows(run_set.runs, subjects.rows, subjects.baseline)
        if known is not None:
            rendering.named(Table(known, (), {}, ""))
    form = form or (SUFFIXES.get(options.writable(output).suffix, "table") if output else "table")
    measuring = Measuring(
        source, where.device, where.batch or (128, None), strict=not subjects.runs, quiet=quiet
    )
    gathering = Gathering(
        run_set.runs,
        subjects.rows,
        where.conditions,
        measuring,
        # What the flags name is the question; without flags, the records say what they are of.
        verified=not subjects.runs or source.names_parts,
        measure_missing=filling.measure_missing,
    )
    target = None if question.against is None else TARGETS[question.against]
    outcomes = () if target is None else tuple(Column(target.measure, part) for part in target.splits)
    everything = (*(requested or _default(question, where)), *outcomes)
    if filling.dry_run:
        click.echo(gathering.plan(everything, is_default=requested is None))
        return
    gathered = gathering.gathered(everything, is_default=requested is None)
    if not gathered.records:
        reason = gathered.remarks[0] if gathered.remarks else "no record was found"
        raise InputError(f"there is nothing to compare: {reason}")
    text = rendered(_result(gathered, question, subjects, run_set), form, rendering)
    if not quiet:
        click.echo(gathered.numbers, err=True)
    for remark in run_set.remarks:
        click.echo(f"Note: {visible(remark)}", err=True)
    click.echo(text)
    if output is not None:
        write_whole(output, (text + "\n").encode())


def _requested(question: Question, where: Where) -> tuple[Column, ...] | None:
    """The columns that flags or a preset name; ``None`` if neither does."""
    if question.names:
        return columns(question.names, where.splits)
    return None if question.preset is None else _on(where, PRESETS.build(question.preset))


def _default(question: Question, where: Where) -> tuple[Column, ...]:
    """The columns of the table, or the predictors, if none are named."""
    if question.against is not None:
        return _on(where, [f"train:{name}" for name in ("loss", *SHARPNESS)])
    # On one split, nothing is the difference of two: the data may have no other.
    one_split = where.split in SPLITS
    return _on(where, [text for text in DEFAULT if not (one_split and text in DERIVED)])


def _on(where: Where, texts: Sequence[str]) -> tuple[Column, ...]:
    """Columns that state their splits, on those of ``--split`` if it is set; corrupted examples stay what they are."""
    if where.split is not None:
        texts = [split_of(text)[1] if split_of(text)[0] in SPLITS else text for text in texts]
    return columns(texts, where.splits)


def _result(gathered: Gathered, question: Question, subjects: Subjects, run_set: RunSet) -> Table | Study:
    """The table of the gathered numbers, or their correlations."""
    if question.against is not None:
        return predictors(gathered.records, question.against, gathered.records, method=question.interval)
    remarks = [*run_set.remarks, *gathered.remarks]
    return gathered.table(
        subjects.rows, baseline=subjects.baseline, method=question.interval, remarks=remarks
    )
