"""``landscape compare``: runs and seeds to one table."""

import json
from pathlib import Path

import click

from landscape import records
from landscape.errors import InputError
from landscape.estimate import Estimate
from landscape.storage import write_whole
from landscape.tables import Table, compare

from . import options
from .help import ExamplesFirst

SUFFIXES = {".txt": "table", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}


@click.command(name="compare", cls=ExamplesFirst)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--rows", default="optimizer", show_default=True, help="The recipe field that makes the rows.")
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default=None,
    help="Which records, if runs were measured on both.",
)
@click.option("-M", "--measure", "names", multiple=True, help="Only this measure; repeatable.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "md", "latex"]),
    default=None,
    help="What to print; by default a table, or what the suffix of --output says.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write it here.")
@options.config
def command(
    runs: tuple[str, ...],
    rows: str,
    split: str | None,
    names: tuple[str, ...],
    form: str | None,
    output: Path | None,
) -> None:
    """Compares measured runs: one row an optimizer, mean ± standard deviation over seeds.

    \b
      landscape compare runs/*
      landscape compare runs/* --split test --format latex -o table.tex
    """
    found: list[Estimate] = []
    unreadable = 0
    for run in runs:
        for file in record_files(Path(run)):
            held = records.read(file)
            found += held.estimates
            unreadable += held.unreadable
    if unreadable:
        click.echo(f"{unreadable} lines could not be read and were skipped", err=True)
    splits = dict.fromkeys(record.provenance.split for record in found)
    chosen = split or (next(iter(splits)) if len(splits) == 1 else "test")
    of_split = [record for record in found if record.provenance.split == chosen]
    if found and not of_split:
        there = ", ".join(map(str, splits))
        raise InputError(
            f"no record of the {chosen} split was found, only of {there}; choose it with --split"
        )
    measures = ", ".join(dict.fromkeys(record.measure for record in of_split))
    absent = [name for name in names if name not in {record.measure for record in of_split}]
    if absent:
        raise InputError(f"no record of {absent[0]} was found, only of {measures}; measure it first")
    found = [record for record in of_split if not names or record.measure in names]
    table = compare(found, rows)
    kind = form or (SUFFIXES.get(output.suffix, "table") if output else "table")
    text = rendered(table, kind)
    click.echo(f"{table.heading} on {chosen} data", err=True)
    click.echo(text)
    if output is not None:
        write_whole(output, (text + "\n").encode())


def record_files(run: Path) -> list[Path]:
    """The record files that a path stands for: itself, a run's, or those of all runs below it.

    Raises:
        InputError: There is none.
    """
    if run.is_file():
        return [run.parent / "measures.jsonl"] if run.suffix == ".pt" else [run]
    files = (
        [run / "measures.jsonl"]
        if (run / "measures.jsonl").is_file()
        else sorted(run.glob("*/measures.jsonl"))
    )
    if not files:
        why = "does not exist" if not run.exists() else "holds no measures.jsonl"
        raise InputError(f"{run} {why}; measure it first: landscape measure {run}/checkpoint.pt")
    return files


def rendered(table: Table, form: str) -> str:
    """The table in one of the formats."""
    if form == "json":
        return json.dumps(table.as_dict(), ensure_ascii=False, indent=1)
    return {"table": table.text, "md": table.markdown, "latex": table.latex, "csv": table.csv}[form]().rstrip(
        "\n"
    )
