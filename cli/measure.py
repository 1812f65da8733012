"""``landscape measure``: any number of measures on any checkpoint."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape import records
from landscape.comparison import setting_labels
from landscape.processes.starting import starts
from landscape.records import Estimate
from landscape.records.estimate import free_parameters
from landscape.registry.names import SPLITS, split_of
from landscape.tables import Grid, Number, rounded
from landscape.tables.escaping import visible

from . import options
from .failures import Unconverged
from .help import ExamplesFirst
from .measure_plan import plan
from .preflight import opened, preflight
from .progress import Bar, duration
from .ranks import in_processes

if TYPE_CHECKING:
    from landscape.objective import Objective
    from landscape.processes.group import Group
    from landscape.registry.names import Specification


@dataclass(frozen=True)
class Request:
    """The flags that say what is measured, where it is kept and how it is printed."""

    names: tuple[str, ...]
    output: Path | None
    form: str
    fail_on: str
    dry_run: bool
    resume: bool
    quiet: bool


@click.command(name="measure", cls=ExamplesFirst)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…")
@options.measures(
    "names",
    help="Measures, repeatable, each with its split in front if need be: test:accuracy. Default: the standard set; "
    "see `landscape list measures`.",
)
@options.subject_flags
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of JSON lines; measures.jsonl beside the checkpoint by default.",
)
@options.form("table", "json", "jsonl", "csv", "md")
@options.flag(
    "--fail-on",
    type=click.Choice(["never", "warn"]),
    default="never",
    help="With warn: exit 4 if anything is unconverged or not finite.",
)
@click.option("--dry-run", is_flag=True, help="Print the expected cost, from one product; measure nothing.")
@options.processes
@options.resume
@options.quiet
@options.config
@options.gathered(request=Request)
def command(
    checkpoints: tuple[str, ...], subject: options.Subject, request: Request, processes: int | None
) -> int | None:
    """Measures checkpoints; prints a table and appends JSON lines.

    \b
      landscape measure runs/sam/checkpoint.pt
      landscape measure net.pt -m resnet18 -d cifar10:root=DIR -M hessian-trace

    Results in the output file are reused if weights, examples, code, settings and loss are unchanged. They are marked
    as read; --no-resume measures them again. Several processes (--processes, torchrun, srun) divide the data and
    compute the same numbers.
    """
    if processes is not None and starts(processes):
        return in_processes(processes)
    from landscape.measures import DEFAULT
    from landscape.processes.joint import joint

    with joint("measure", device=subject.device) as group:
        splits = SPLITS if subject.split == "both" else (subject.split,)
        requested = _of_splits(request.names or DEFAULT, splits)
        options.chosen_device(subject.device, subject.dtype)
        rows: list[Row] = []
        for path in checkpoints:
            rows += _of_checkpoint(path, subject, requested, request, group)
        if request.dry_run:
            return None
        click.echo(_FORMATS[request.form](rows))
        doubtful = [row.estimate.measure for row in rows if row.is_doubtful]
        if doubtful and request.fail_on == "warn":
            raise Unconverged(f"not converged or not finite: {', '.join(dict.fromkeys(doubtful))}")
    return None


def _of_checkpoint(
    path: str,
    subject: options.Subject,
    requested: "Mapping[str, Sequence[Specification]]",
    request: Request,
    group: "Group",
) -> "list[Row]":
    """The measures of one checkpoint; prints the plan instead with ``--dry-run``."""
    from landscape.measures.forecast import forecast

    checkpoint = opened(path, subject, group)
    source = checkpoint.contents.path
    file = request.output or source.parent / records.MEASURES
    known = group.once(lambda: _known(file, resume=request.resume))
    if known.unreadable:
        click.echo(f"{file}: {known.unreadable} lines could not be read and were skipped", err=True)
    rows: list[Row] = []
    for split, specifications in requested.items():
        objective = subject.objective(checkpoint, split, group=group)
        summary = preflight(
            click.format_filename(source), checkpoint, objective, expected=subject.expect_accuracy
        )
        if not request.quiet:
            click.echo(summary, err=True)
        if request.dry_run:
            click.echo(plan(forecast(objective, specifications), group.world))
            continue
        keeps = partial(records.append, file) if group.rank == 0 else None
        title = f"{click.format_filename(path)} ({split})"
        rows += _measured(objective, specifications, title, known.estimates, file, keeps, request.quiet)
    return rows


def _known(file: Path, *, resume: bool) -> records.Records:
    """The records of a file that can be written to; none without ``resume``."""
    options.writable(file)
    return records.read(file) if resume and file.is_file() else records.Records((), 0)


def _of_splits(texts: Sequence[str], default: Sequence[str]) -> "dict[str, list[Specification]]":
    """The measures of each split, each once: of the split that is in front of its name, or of the default ones."""
    from landscape.measures import MEASURES

    parsed: dict[str, dict[str, Specification]] = {split: {} for split in SPLITS}  # in this order
    for part, name in map(split_of, texts):
        specification = MEASURES.parse(name)
        for split in default if part is None else (part,):
            parsed.setdefault(split, {})[str(specification)] = specification
    return {split: list(measures.values()) for split, measures in parsed.items() if measures}


@dataclass(frozen=True)
class Row:
    """A row of the printed table."""

    title: str
    estimate: Estimate
    file: Path | None  # from which it was read, if it was not computed now

    @property
    def is_doubtful(self) -> bool:
        """Whether it did not converge or is not finite."""
        return self.estimate.converged is False or not math.isfinite(self.estimate.value)

    @property
    def read_from(self) -> str | None:
        """The name of that file."""
        return None if self.file is None else click.format_filename(self.file)

    @property
    def doubt(self) -> str:
        """Its uncertainty, in a few words."""
        if "undefined" in self.estimate.details:
            return "undefined"
        words = []
        if self.estimate.standard_error is not None:
            words.append(f"± {self.estimate.standard_error:.2g}")
        if "residual" in self.estimate.details:
            words.append(f"residual {self.estimate.details['residual']:.1e}")
        return (", ".join(words) or "exact") + ("" if self.estimate.converged is not False else " †")

    @property
    def cost(self) -> str:
        """In gradient-equivalents and seconds; ``read`` where it was not computed now."""
        if self.file is not None:
            return "read"
        cost = self.estimate.cost
        seconds = f" {cost.seconds:.1f}s" if cost.seconds >= 0.05 else ""
        count = cost.gradient_equivalents
        return f"{count:.3g} g{seconds}" if count >= 0.005 else "shared"


def _measured(
    objective: "Objective",
    specifications: "Sequence[Specification]",
    title: str,
    known: Sequence[Estimate],
    file: Path,
    keep: Callable[[Estimate], None] | None,
    quiet: bool,
) -> list[Row]:
    """The measures of one split: from the file where it is still valid, and otherwise computed and appended."""
    from landscape.measures import MEASURES, measured_or_recalled

    def compute(specification: "Specification", objective: "Objective") -> Estimate:
        with Bar(specification.name, quiet=quiet) as bar:
            objective.ledger.listener = bar.tell
            return MEASURES.build(specification, objective)

    rows, outdated = [], dict[str, list[str]]()
    for specification in specifications:
        answer = measured_or_recalled(objective, specification, known, compute=compute, keep=keep)
        if answer.outdated is not None:
            outdated.setdefault(answer.outdated, []).append(specification.name)
        rows.append(Row(title, answer.estimate, file if answer.recalled else None))
    for reason, names in outdated.items():
        click.echo(f"{file}: measured anew: {', '.join(names)} ({reason})", err=True)
    return rows


_HEAD = ("measure", "value", "unit", "doubt", "cost")


def _cells(rows: Sequence[Row]) -> list[tuple[str | Number, ...]]:
    estimates = [row.estimate for row in rows]
    # The value is rounded to the place of its standard error, which has a column of its own.
    values = [rounded(e.value, e.standard_error).split(" ±")[0].strip("(") for e in estimates]
    return [
        (label, Number(value), row.estimate.unit, row.doubt, row.cost)
        for label, value, row in zip(setting_labels(estimates), values, rows, strict=True)
    ]


def _sources(rows: Sequence[Row]) -> list[str]:
    """Where the numbers that were not computed now come from, a line a file."""
    files = dict.fromkeys(row.file for row in rows if row.file is not None)
    return [f"read: from {file}, not computed now (--no-resume measures again)" for file in files]


def _free(rows: Sequence[Row]) -> list[str]:
    """Which parameters the numbers are about, if not all."""
    return [line for line in dict.fromkeys(free_parameters(r.estimate.provenance) for r in rows) if line]


def _table(rows: Sequence[Row]) -> str:
    tables = []
    for title in dict.fromkeys(row.title for row in rows):
        part = [row for row in rows if row.title == title]
        costs = [row.estimate.cost for row in part if row.file is None]
        total, seconds = (
            sum(getattr(c, name) for c in costs) for name in ("gradient_equivalents", "seconds")
        )
        undefined = [row.estimate for row in part if "undefined" in row.estimate.details]
        notes = [f"{e.measure} is undefined: {e.details['undefined']}" for e in undefined]
        # Of a value that is the largest of several.
        largest = [row.estimate for row in part if "layer" in row.estimate.details]
        notes += [
            f"{e.measure} is that of {e.details['layer']}; --format json has all of them" for e in largest
        ]
        if any(row.estimate.converged is False for row in part):
            notes.append("† not converged: give it more probes or iterations, or a larger tolerance")
        notes += [
            *_free(part),
            "± standard error; exact: on these examples",
            f"g: gradients over all data (product 2, forward pass 1/3); {total:.3g} g, {duration(seconds)}",
            *_sources(part),
        ]
        tables.append(f"{visible(title)}\n{Grid(_HEAD, _cells(part), notes).text()}")
    return "\n\n".join(tables)


def _markdown(rows: Sequence[Row]) -> str:
    unconverged = any(row.estimate.converged is False for row in rows)
    notes = [*(["† not converged"] if unconverged else []), *_free(rows), *_sources(rows)]
    cells = [(row.title, *line) for row, line in zip(rows, _cells(rows), strict=True)]
    return Grid(("checkpoint", *_HEAD), cells, notes).markdown()


def _objects(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The records, each with the file it was read from, which is no part of a record on disk."""
    return [json.loads(records.to_json(row.estimate)) | {"read_from": row.read_from} for row in rows]


def _csv(rows: Sequence[Row]) -> str:
    head = ("checkpoint", "measure", "value", "standard_error", "unit", "converged", "free", "read_from")
    labels = setting_labels([row.estimate for row in rows])
    cells = [
        (
            row.title,
            label,
            e.value,
            e.standard_error,
            e.unit,
            e.converged,
            free_parameters(e.provenance),
            row.read_from,
        )
        for row, e, label in zip(rows, [row.estimate for row in rows], labels, strict=True)
    ]
    return Grid(head, cells).csv().rstrip("\n")


_FORMATS = {
    "table": _table,
    "json": lambda rows: options.json_forms("json", _objects(rows)),
    "jsonl": lambda rows: options.json_forms("jsonl", _objects(rows)),
    "csv": _csv,
    "md": _markdown,
}
