"""Flags that are read from a TOML file."""

from pathlib import Path

import click

from landscape.errors import UsageError
from landscape.records.reading import read_toml
from landscape.registry.nearest import did_you_mean


def configure(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Takes defaults from a TOML file whose keys are the flags' long names."""
    if value is None:
        return
    flags = {
        option.removeprefix("--"): p
        for p in ctx.command.params
        for option in p.opts
        if option.startswith("--") and p.expose_value
    }
    defaults = {}
    for key, item in read_toml(value).items():
        name = key.replace("_", "-")
        if name not in flags:
            raise UsageError(
                f"{value}: '{key}' is not an option of `landscape {ctx.info_name}`{did_you_mean(name, flags)}; "
                f"see landscape {ctx.info_name} --help"
            )
        defaults[str(flags[name].name)] = _as_typed(f"{value}: {key}", item, flags[name])
    ctx.default_map = defaults  # which click asks only for flags that were not typed


def _as_typed(place: str, item: object, option: click.Parameter) -> object:
    """A value as it would have been typed, so that click judges it as it judges the command line."""
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(item, bool):
            raise UsageError(f"{place} = {_brief(item)} is neither true nor false")
        return item
    if option.multiple:
        return [_text(place, entry) for entry in (item if isinstance(item, list) else [item])]
    return _text(place, item)


def _text(place: str, item: object) -> str:
    if isinstance(item, bool) or not isinstance(item, (str, int, float)):
        raise UsageError(f"{place} = {_brief(item)} is neither text nor a number")
    if isinstance(item, str) and "\0" in item:
        raise UsageError(f"{place} = {item!r} holds a NUL character, which no option may")
    return str(item)


def _brief(item: object) -> str:
    text = str(item)
    return text if len(text) < 60 else f"{text[:60]}…"
