"""``landscape inspect``: the contents of a checkpoint, and the command that measures it."""

import dataclasses
from typing import TYPE_CHECKING

import click

from landscape.records.json_lines import plain
from landscape.tables.escaping import visible

from . import options
from .help import ExamplesFirst

if TYPE_CHECKING:
    from landscape.checkpoints.inspection import Inspection

_MOST_VALUES = 12


@click.command(name="inspect", cls=ExamplesFirst)
@click.argument("file", metavar="FILE")
@options.weights
@options.form("table", "json", "jsonl")
def command(file: str, weights: str | None, form: str) -> None:
    """Shows the contents of a checkpoint, how it was recognised, and the command that measures it.

    \b
      landscape inspect model.pt
      landscape inspect last.ckpt --format json

    landscape never runs code stored in a checkpoint. A whole network is read without its code, and a file that needs
    code to run is refused, with the names that it refers to.
    """
    from landscape.checkpoints.inspection import inspect_checkpoint

    inspection = inspect_checkpoint(file, weights=weights)  # type: ignore[arg-type]
    if form != "table":
        click.echo(options.json_forms(form, plain(dataclasses.asdict(inspection))))
        return
    lines = _lines(inspection)
    width = max(len(name) for name, _ in lines)
    click.echo("\n".join(f"{name:{width}}  {visible(text)}" for name, text in lines))


def _lines(inspection: "Inspection") -> list[tuple[str, str]]:
    values = [(name, value) for name, value in inspection.values.items() if name != "format"]
    recipe = [(name, value) for name, value in (inspection.recipe or {}).items() if value is not None]
    place = f"under {inspection.key}" if inspection.key else "at the top"
    count = f"{inspection.tensors} tensors, {inspection.parameters:,} parameters"
    lines = [
        ("file", f"{click.format_filename(inspection.path)}, {inspection.bytes:,} bytes"),
        ("sha256", inspection.sha256),
        ("format", inspection.form),
        ("weights", f"{count}; {inspection.weights}, {place}"),
        ("averaged", inspection.average and f"under {inspection.average}; --weights ema selects them"),
        ("types", ", ".join(f"{count} {name}" for name, count in inspection.dtypes.items())),
        ("prefixes", " ".join(inspection.prefixes)),
        ("batch norm", f"{inspection.batch_norms} layers" if inspection.batch_norms else "none"),
        ("not finite", ", ".join(inspection.not_finite[:4])),
        ("recipe", ", ".join(f"{name}={value}" for name, value in recipe)),
        ("values", ", ".join(f"{name}={value}" for name, value in values[:_MOST_VALUES])),
        ("looks like", inspection.looks),
        ("class", inspection.module),
        *(("note", note) for note in inspection.notes if "--weights" not in note),
        ("measure it", inspection.command),
    ]
    return [(name, text) for name, text in lines if text]
