"""``landscape measure``: any number of measures on any checkpoint."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import click

from landscape import records
from landscape.comparison import setting_labels
from landscape.estimate import Estimate
from landscape.tables import aligned, rounded
from landscape.tables.escaping import for_csv, for_markdown, visible

from . import options
from .failures import Unconverged
from .help import ExamplesFirst
from .preflight import preflight
from .progress import Bar, duration


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
@options.checkpoint_flags
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
    asked: options.Asked,
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

    What is already in the output file with the same settings is not measured again.
    """
    from landscape.measures import DEFAULT, MEASURES
    from landscape.measures.forecast import forecast, takes_products

    from .plan import plan

    wanted = list({str(s): s for s in (MEASURES.parse(name) for name in (names or DEFAULT))}.values())
    options.chosen_device(asked.device)
    taken: list[tuple[str, Estimate]] = []
    for path in checkpoints:
        shown = click.format_filename(path)
        checkpoint = asked.open(path)
        file = options.writable(output or checkpoint.contents.path.parent / "measures.jsonl")
        held = records.read(file) if resume and file.is_file() else records.Records((), 0)
        if held.unreadable:
            click.echo(f"{file}: {held.unreadable} lines could not be read and were skipped", err=True)
        for part in ("train", "test") if asked.split == "both" else (asked.split,):
            objective = asked.objective(checkpoint, part)
            said = preflight(
                click.format_filename(checkpoint.contents.path),
                checkpoint,
                objective,
                expected=asked.expect_accuracy,
            )
            if not quiet:
                click.echo(said, err=True)
            if dry_run:
                click.echo(plan(forecast(objective, wanted)))
                continue
            seconds: dict[str, float] = {}
            for specification in wanted:
                found = records.find(
                    held.estimates,
                    measure=specification.name,
                    settings=MEASURES.settings(specification),
                    provenance=objective.provenance,
                )
                if found is None:
                    if not quiet and not seconds and takes_products(objective, specification):
                        seconds = forecast(objective, wanted).seconds_by_name
                    expected = seconds.get(str(specification))
                    with Bar(specification.name, quiet=quiet, expected=expected) as bar:
                        objective.ledger.listener = bar.tell
                        found = MEASURES.build(specification, objective)
                    records.append(file, found)
                taken.append((f"{shown} ({part})", found))
    if dry_run:
        return
    click.echo(_FORMATS[form](taken))
    doubtful = [e.measure for _, e in taken if e.converged is False or not math.isfinite(e.value)]
    if doubtful and fail_on == "warn":
        raise Unconverged(f"not converged or not finite: {', '.join(dict.fromkeys(doubtful))}")


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


def _cost(estimate: Estimate) -> str:
    """In gradient-equivalents and seconds."""
    count = estimate.cost.gradient_equivalents
    seconds = f" {estimate.cost.seconds:.1f}s" if estimate.cost.seconds >= 0.05 else ""
    return f"{count:.3g} g{seconds}" if count >= 0.005 else "shared"


def _number(estimate: Estimate) -> str:
    """The value to the place of its standard error."""
    return rounded(estimate.value, estimate.standard_error).split(" ±")[0].strip("(")


def _lines(estimates: Sequence[Estimate]) -> list[list[str]]:
    labels = setting_labels(estimates)
    return [
        [
            visible(label),
            _number(e),
            visible(e.unit),
            doubt(e),
            _cost(e),
        ]
        for label, e in zip(labels, estimates, strict=True)
    ]


def _table(taken: Sequence[tuple[str, Estimate]]) -> str:
    blocks = []
    for title in dict.fromkeys(title for title, _ in taken):
        mine = [e for other, e in taken if other == title]
        lines = [["measure", "value", "unit", "doubt", "cost"], *_lines(mine)]
        seconds = duration(sum(e.cost.seconds for e in mine))
        notes = [
            visible(f"{e.measure} is undefined: {e.details['undefined']}")
            for e in mine
            if "undefined" in e.details
        ]
        if any(e.converged is False for e in mine):
            notes.append("† not converged: give it more probes or iterations, or a larger tolerance")
        notes.append("± standard error; exact: on these examples")
        total = sum(e.cost.gradient_equivalents for e in mine)
        notes.append(f"g: gradients over all data (product 2, forward pass 1/3); {total:.3g} g, {seconds}")
        blocks.append("\n".join([visible(title), aligned(lines), "", *notes]))
    return "\n\n".join(blocks)


def _markdown(taken: Sequence[tuple[str, Estimate]]) -> str:
    head = ["checkpoint", "measure", "value", "unit", "doubt", "cost"]
    lines = _lines([e for _, e in taken])
    body = [[title, *line] for (title, _), line in zip(taken, lines, strict=True)]
    rows = [head, ["---"] * len(head), *([*map(for_markdown, row)] for row in body)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return table if not any(e.converged is False for _, e in taken) else f"{table}\n\n† not converged"


def _csv(taken: Sequence[tuple[str, Estimate]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["checkpoint", "measure", "value", "standard_error", "unit", "converged"])
    for (title, e), label in zip(taken, setting_labels([e for _, e in taken]), strict=True):
        cells = (title, label, repr(e.value), _cell(e.standard_error), e.unit, _cell(e.converged))
        writer.writerow(map(for_csv, cells))
    return out.getvalue().rstrip("\n")


def _cell(value: float | bool | None) -> str:
    return "" if value is None else repr(value)


_FORMATS = {
    "table": _table,
    "json": lambda taken: "\n".join(records.to_json(e) for _, e in taken),
    "csv": _csv,
    "md": _markdown,
}
