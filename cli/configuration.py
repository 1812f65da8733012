"""Flags from a file."""

import difflib
from pathlib import Path

import click

from landscape.errors import UsageError
from landscape.reading import read_toml


def configure(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Takes defaults from a TOML file whose keys are the flags' long names."""
    if value is None:
        return
    given = read_toml(value)
    named = {
        option.removeprefix("--"): p.name
        for p in ctx.command.params
        for option in p.opts
        if option.startswith("--") and p.expose_value
    }
    unknown = [key for key in given if key.replace("_", "-") not in named]
    if unknown:
        close = difflib.get_close_matches(unknown[0].replace("_", "-"), list(named), n=1, cutoff=0.5)
        guess = f" (did you mean '{close[0]}'?)" if close else ""
        raise UsageError(
            f"{value}: '{unknown[0]}' is not an option of `landscape {ctx.info_name}`{guess}; "
            f"see landscape {ctx.info_name} --help"
        )
    ctx.default_map = {str(named[key.replace("_", "-")]): item for key, item in given.items()}
