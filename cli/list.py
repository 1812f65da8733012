"""``landscape list``: the names of one kind, with their options and defaults."""

import importlib
import textwrap
from typing import Any

import click

from landscape.registry.names import NameTable

from . import options
from .help import ExamplesFirst

TABLES = {
    "optimizers": ("landscape.optim", "OPTIMIZERS"),
    "measures": ("landscape.measures", "MEASURES"),
    "models": ("landscape.models", "MODELS"),
    "data": ("landscape.data", "DATA"),
    "losses": ("landscape.losses", "LOSSES"),
    "planes": ("landscape.surfaces.plane", "PLANES"),
    "trackers": ("landscape.tracking", "TRACKERS"),
    "presets": ("landscape.training", "PRESETS"),
}


@click.command(name="list", cls=ExamplesFirst)
@click.argument("kind", type=click.Choice(list(TABLES)))
@options.form("table", "json", "jsonl")
def command(kind: str, form: str) -> None:
    """Lists names with their options and defaults.

    \b
      landscape list optimizers
      landscape list measures --format json
    """
    module, attribute = TABLES[kind]
    table: NameTable[Any] = getattr(importlib.import_module(module), attribute)
    if form != "table":
        click.echo(options.json_forms(form, [described(table, name) for name in table]))
        return
    width = max(len(name) for name in table)
    for name in table:
        row = described(table, name)
        cost = f" [{row['cost']} gradients/step]" if "cost" in row else ""
        reference = f" ({row['reference']})" if row["reference"] else ""
        click.echo(_wrapped(f"{name:{width}}  {row['summary']}{cost}{reference}", width + 2))
        if row["options"]:
            choices = ", ".join(_as_typed(option) for option in row["options"])
            click.echo(_wrapped(" " * (width + 2) + choices, width + 2))
    if table.forms:
        click.echo(_wrapped(f"{'also':{width}}  {', '.join(table.forms)}", width + 2))


def described(table: NameTable[Any], name: str) -> dict[str, Any]:
    """One row as JSON types."""
    row = table[name]
    extra = {key: getattr(row, key) for key in ("cost", "fields", "needs", "status") if hasattr(row, key)}
    return {
        "name": name,
        "summary": row.summary,
        "reference": row.reference,
        "options": [
            {
                "name": option.name,
                "required": option.required,
                "default": None if option.required else option.default,
                "choices": option.choices,
            }
            for option in row.options.values()
        ],
    } | extra


def _as_typed(option: dict[str, Any]) -> str:
    """``name=default`` as a user types it, the other choices behind the default."""
    default = "…" if option["required"] else str(option["default"])
    if default in ("None", "True", "False"):
        default = default.lower()
    others = [choice for choice in option["choices"] if choice != default]
    return f"{option['name']}={'|'.join([default, *others])}"


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, width=80, subsequent_indent=" " * indent, drop_whitespace=True)
