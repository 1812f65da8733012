"""``landscape inspect``: what a checkpoint holds, and the command that measures it."""

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from landscape.records.json_lines import plain
from landscape.tables.escaping import visible

from . import options
from .help import ExamplesFirst

if TYPE_CHECKING:
    from landscape.checkpoints.inspection import Inspection

_SHOWN = 12


@click.command(name="inspect", cls=ExamplesFirst)
@click.argument("file", metavar="FILE")
@options.weights
@options.form("table", "json")
def command(file: str, weights: str | None, form: str) -> None:
    """Tells what a checkpoint holds, how it was recognised, and the command that measures it.

    \b
      landscape inspect model.pt
      landscape inspect last.ckpt --format json

    No code from the file is run: a file that would need that is refused, with the list of what it refers to.
    """
    from landscape.checkpoints.inspection import inspect_checkpoint

    found = inspect_checkpoint(file, weights=weights)  # type: ignore[arg-type]
    if form == "json":
        click.echo(json.dumps(plain(dataclasses.asdict(found)), indent=1, ensure_ascii=True))
        return
    lines = _lines(found)
    width = max(len(name) for name, _ in lines)
    click.echo("\n".join(f"{name:{width}}  {visible(text)}" for name, text in lines))


def _lines(found: "Inspection") -> list[tuple[str, str]]:
    held = f"{found.tensors} tensors, {found.parameters:,} parameters"
    types = ", ".join(f"{count} {name}" for name, count in found.dtypes.items())
    values = {name: value for name, value in found.values.items() if name != "format"}
    lines = [
        ("file", f"{click.format_filename(found.path)}, {found.bytes:,} bytes"),
        ("sha256", found.sha256),
        ("format", found.form),
        ("weights", f"{held}; {found.weights}, {f'under {found.key}' if found.key else 'at the top'}"),
        ("averaged", found.average and f"under {found.average}; --weights ema takes them"),
        ("types", types),
        ("prefixes", " ".join(found.prefixes)),
        ("batch norm", f"{found.batch_norms} layers" if found.batch_norms else "none"),
        ("not finite", ", ".join(found.not_finite[:4])),
        ("recipe", ", ".join(f"{k}={v}" for k, v in (found.recipe or {}).items() if v is not None)),
        ("values", ", ".join(f"{k}={v}" for k, v in list(values.items())[:_SHOWN])),
        ("looks like", found.looks),
        *(("note", note) for note in found.notes if "--weights" not in note),
        ("measure it", found.command),
    ]
    return [(name, text) for name, text in lines if text]
