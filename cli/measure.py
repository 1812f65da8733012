"""``landscape measure``: any number of measures on any checkpoint."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape import records
from landscape.comparison import setting_labels
from landscape.records.estimate import Estimate
from landscape.tables import aligned, rounded
from landscape.tables.escaping import for_csv, for_markdown, visible

from . import options
from .failures import Unconverged
from .help import ExamplesFirst
from .preflight import preflight
from .progress import Bar, duration

if TYPE_CHECKING:
    from landscape.objective import Objective
    from landscape.registry.names import Specification


@click.command(name="measure", cls=ExamplesFirst)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…")
@click.option(
    "-M",
    "--measure",
    "names",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help="A measure; repeatable. By default those of the mission; see `landscape list measures`.",
)
@options.subject_flags
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON lines; measures.jsonl beside the checkpoint by default.",
)
@options.form("table", "json", "csv", "md")
@click.option(
    "--fail-on",
    type=click.Choice(["never", "warn"]),
    default="never",
    show_default=True,
    help="With warn: exit 4 if anything is unconverged or not finite.",
)
@click.option("--dry-run", is_flag=True, help="Print what it would cost, from one product; measure nothing.")
@options.resume
@options.quiet
@options.config
def command(
    checkpoints: tuple[str, ...],
    names: tuple[str, ...],
    subject: options.Subject,
    output: Path | None,
    form: str,
    fail_on: str,
    dry_run: bool,
    resume: bool,
    quiet: bool,
) -> None:
    """Measures checkpoints; prints a table and appends JSON lines.

    \b
      landscape measure runs/sam/checkpoint.pt
      landscape measure model.pt -m resnet18 -d cifar10:root=DIR --limit 5000 -M hessian-trace

    What is already in the output file is not measured again, if weights, examples, code, settings and loss are still
    the same. Such numbers are marked as read; --no-resume measures them again.
    """
    from landscape.measures import DEFAULT, MEASURES
    from landscape.measures.forecast import forecast

    from .plan import plan

    wanted = list({str(s): s for s in (MEASURES.parse(name) for name in (names or DEFAULT))}.values())
    options.chosen_device(subject.device)
    taken: list[Taken] = []
    for path in checkpoints:
        shown = click.format_filename(path)
        checkpoint = subject.open(path)
        file = options.writable(output or checkpoint.contents.path.parent / "measures.jsonl")
        held = records.read(file) if resume and file.is_file() else records.Records((), 0)
        if held.unreadable:
            click.echo(f"{file}: {held.unreadable} lines could not be read and were skipped", err=True)
        for part in ("train", "test") if subject.split == "both" else (subject.split,):
            objective = subject.objective(checkpoint, part)
            said = preflight(
                click.format_filename(checkpoint.contents.path),
                checkpoint,
                objective,
                expected=subject.expect_accuracy,
            )
            if not quiet:
                click.echo(said, err=True)
            if dry_run:
                click.echo(plan(forecast(objective, wanted)))
                continue
            taken += _measured(objective, wanted, f"{shown} ({part})", held.estimates, file, quiet=quiet)
    if dry_run:
        return
    click.echo(_FORMATS[form](taken))
    doubtful = [t.estimate.measure for t in taken if _is_doubtful(t.estimate)]
    if doubtful and fail_on == "warn":
        raise Unconverged(f"not converged or not finite: {', '.join(dict.fromkeys(doubtful))}")


@dataclass(frozen=True)
class Taken:
    """A number that is printed.

    Attributes:
        title: Of which checkpoint and split.
        estimate: The number.
        file: Where it was read; ``None`` if it was computed now.
    """

    title: str
    estimate: Estimate
    file: Path | None = None


_KNOWN = ("loss", "accuracy")
"""What has been computed before any measure, so that it is never read from a file."""


def _measured(
    objective: "Objective",
    wanted: "Sequence[Specification]",
    title: str,
    held: Sequence[Estimate],
    file: Path,
    *,
    quiet: bool,
) -> list[Taken]:
    """The measures of one split: from the file what still holds, and what is new appended to it."""
    from landscape.measures import MEASURES
    from landscape.measures.forecast import forecast, takes_products

    # After the first look, which has computed the loss.
    origin = dataclasses.replace(objective.provenance, loss_value=objective.loss)
    taken: list[Taken] = []
    seconds: dict[str, float] = {}
    outdated: dict[str, list[str]] = {}
    for specification in wanted:
        settings = MEASURES.settings(specification)
        name = specification.name
        match = records.find(held, measure=name, settings=settings, provenance=origin)
        if match is not None and name not in _KNOWN:
            taken.append(Taken(title, match, file))
            continue
        reason = records.outdated(held, measure=name, settings=settings, provenance=origin)
        if match is None and reason is not None:
            outdated.setdefault(reason, []).append(name)
        if not quiet and not seconds and takes_products(objective, specification):
            seconds = forecast(objective, wanted).seconds_by_name
        with Bar(name, quiet=quiet, expected=seconds.get(str(specification))) as bar:
            objective.ledger.listener = bar.tell
            estimate = MEASURES.build(specification, objective)
        if match is None or not records.agree(match.value, estimate.value, origin.dtype):
            records.append(file, estimate)
        taken.append(Taken(title, estimate))
    for reason, names in outdated.items():
        click.echo(f"{file}: measured anew: {', '.join(names)} ({reason})", err=True)
    return taken


def _is_doubtful(estimate: Estimate) -> bool:
    return estimate.converged is False or not math.isfinite(estimate.value)


def doubt(estimate: Estimate) -> str:
    """What is uncertain about a number, in a few words."""
    if "undefined" in estimate.details:
        return "undefined"
    words = []
    if estimate.standard_error is not None:
        words.append(f"± {estimate.standard_error:.2g}")
    if "residual" in estimate.details:
        words.append(f"residual {estimate.details['residual']:.1e}")
    return (", ".join(words) or "exact") + ("" if estimate.converged is not False else " †")


def _cost(number: Taken) -> str:
    """In gradient-equivalents and seconds; ``read`` where it was not computed now."""
    if number.file is not None:
        return "read"
    cost = number.estimate.cost
    count = cost.gradient_equivalents
    seconds = f" {cost.seconds:.1f}s" if cost.seconds >= 0.05 else ""
    return f"{count:.3g} g{seconds}" if count >= 0.005 else "shared"


def _number(estimate: Estimate) -> str:
    """The value to the place of its standard error."""
    return rounded(estimate.value, estimate.standard_error).split(" ±")[0].strip("(")


def _lines(taken: Sequence[Taken]) -> list[list[str]]:
    estimates = [number.estimate for number in taken]
    return [
        [visible(label), _number(e), visible(e.unit), doubt(e), _cost(number)]
        for label, e, number in zip(setting_labels(estimates), estimates, taken, strict=True)
    ]


def _table(taken: Sequence[Taken]) -> str:
    blocks = []
    for title in dict.fromkeys(number.title for number in taken):
        mine = [number for number in taken if number.title == title]
        estimates = [number.estimate for number in mine]
        new = [number.estimate.cost for number in mine if number.file is None]
        notes = [
            visible(f"{e.measure} is undefined: {e.details['undefined']}")
            for e in estimates
            if "undefined" in e.details
        ]
        if any(e.converged is False for e in estimates):
            notes.append("† not converged: give it more probes or iterations, or a larger tolerance")
        notes.append("± standard error; exact: on these examples")
        total = sum(cost.gradient_equivalents for cost in new)
        seconds = duration(sum(cost.seconds for cost in new))
        notes.append(f"g: gradients over all data (product 2, forward pass 1/3); {total:.3g} g, {seconds}")
        lines = [["measure", "value", "unit", "doubt", "cost"], *_lines(mine)]
        blocks.append("\n".join([visible(title), aligned(lines), "", *notes, *_sources(mine)]))
    return "\n\n".join(blocks)


def _markdown(taken: Sequence[Taken]) -> str:
    head = ["checkpoint", "measure", "value", "unit", "doubt", "cost"]
    body = [[number.title, *line] for number, line in zip(taken, _lines(taken), strict=True)]
    rows = [head, ["---"] * len(head), *([*map(for_markdown, row)] for row in body)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    unconverged = any(number.estimate.converged is False for number in taken)
    notes = [*(["† not converged"] if unconverged else []), *_sources(taken)]
    return "\n\n".join([table, *notes])


def _sources(taken: Sequence[Taken]) -> list[str]:
    """Where the numbers that were not computed now come from, a line a file."""
    files = dict.fromkeys(number.file for number in taken if number.file is not None)
    return [f"read: from {file}, not computed now (--no-resume measures again)" for file in files]


def _csv(taken: Sequence[Taken]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["checkpoint", "measure", "value", "standard_error", "unit", "converged"])
    estimates = [number.estimate for number in taken]
    for number, e, label in zip(taken, estimates, setting_labels(estimates), strict=True):
        cells = (number.title, label, repr(e.value), _cell(e.standard_error), e.unit, _cell(e.converged))
        writer.writerow(map(for_csv, cells))
    return out.getvalue().rstrip("\n")


def _cell(value: float | bool | None) -> str:
    return "" if value is None else repr(value)


_FORMATS = {
    "table": _table,
    "json": lambda taken: "\n".join(records.to_json(number.estimate) for number in taken),
    "csv": _csv,
    "md": _markdown,
}
