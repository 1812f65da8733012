"""Completion in a shell: click's, of commands, flags and files, and of the names in our tables."""

import importlib
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from .list import TABLES
from .terminal import switch_notes

_NAMED = {
    "base": "optimizers",
    "data": "data",
    "loss": "losses",
    "measure": "measures",
    "measure_names": "measures",
    "measures": "measures",
    "model": "models",
    "names": "measures",
    "optimizer": "optimizers",
    "plane": "planes",
    "track": "trackers",
}
"""The table that holds the values of a flag."""

_FILES = ("checkpoint", "checkpoints", "file", "source", "output")
"""Arguments that are text because they may be more than a path."""

Completer = Callable[[click.Context, str], list[CompletionItem]]


def complete(group: click.Group) -> None:
    """Answers the shell, and ends the process."""
    switch_notes(off=True)
    found = group.get_command

    def with_names(ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = found(ctx, cmd_name)
        for parameter in command.params if command else ():
            if parameter.name in _NAMED:
                parameter.shell_complete = _names_of(_NAMED[parameter.name])  # type: ignore[method-assign, assignment]
            elif parameter.name in _FILES:
                parameter.shell_complete = _file  # type: ignore[method-assign]
        return command

    group.get_command = with_names  # type: ignore[method-assign]
    group.main(prog_name="landscape")


def _file(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _names_of(kind: str) -> Completer:
    def answer(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        if "/" in last or last.startswith("."):  # a file of the user's
            return _file(ctx, incomplete)
        module, attribute = TABLES[kind]
        table = getattr(importlib.import_module(module), attribute)
        names = [name for name in table if name.startswith(last)]
        return [CompletionItem(f"{before}{comma}{name}", help=table[name].summary) for name in names]

    return answer
