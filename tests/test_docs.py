"""The examples of README and docs run, their tables are those of the program, the set-up is two commands."""

import importlib
import os
import re
import runpy
from collections.abc import Callable
from functools import partial
from glob import glob
from pathlib import Path

import click
import pytest
from command_line import Result
from command_line import landscape as landscape
from documented_examples import EXAMPLES, PAGES, PLAIN, README, WITH_A_LIBRARY, commands_of, run_code
from landscape.cli.application import application
from landscape.cli.list import TABLES as LISTED

from landscape.measures import MEASURES
from landscape.optim import OPTIMIZERS
from landscape.registry.names import Option

REFERENCE = README.parent / "docs" / "reference.md"


def identity(page: Path) -> str:
    return page.relative_to(README.parent).as_posix()


def cells(*values: object) -> str:
    """A row of a table: a bar in a cell, as in |θ|, begins no cell."""
    return "| " + " | ".join(str(value).replace("|", r"\|") for value in values) + " |"


def with_default(option: Option) -> str:
    return f"`{option.name}={'…' if option.required else option.default}`"


def measures_table() -> str:
    lines = ["| measure | what | options | after |", "|---|---|---|---|"]
    for name, row in MEASURES.items():
        options = ", ".join(map(with_default, row.options.values())) or "–"
        lines.append(cells(f"`{name}`", row.summary, options, row.reference or "–"))
    return "\n".join(lines)


def optimizers_table() -> str:
    lines = ["| optimizer | what | gradients a step | options | after |", "|---|---|---|---|---|"]
    for name in OPTIMIZERS:
        row = OPTIMIZERS[name]
        own = [option for name, option in row.options.items() if name not in row.shared]
        options = ", ".join(map(with_default, own)) or "–"
        lines.append(cells(f"`{name}`", row.summary, row.cost, options, row.reference))
    return "\n".join(lines)


def names_table(kind: str) -> str:
    module, attribute = LISTED[kind]
    table = getattr(importlib.import_module(module), attribute)
    lines = [cells(table.kind, "what", "options"), "|---|---|---|"]
    for name, row in table.items():
        options = ", ".join(map(with_default, row.options.values())) or "–"
        after = f" ({row.reference})" if row.reference else ""
        lines.append(cells(f"`{name}`", row.summary + after, options))
    if table.forms:
        lines.append(cells(", ".join(f"`{form}`" for form in table.forms), "also", "–"))
    return "\n".join(lines)


TABLES = {kind: partial(names_table, kind) for kind in LISTED}
TABLES |= {"measures": measures_table, "optimizers": optimizers_table}


def with_tables(text: str) -> str:
    for name, table in TABLES.items():
        pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, t=table: f"{m[1]}\n{t()}\n\n{m[2]}", text, flags=re.DOTALL)
        assert count == 1, name
    return text


def test_the_tables_are_those_of_the_program() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run: python tests/test_docs.py"


def test_readme_can_be_read_in_five_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


@pytest.mark.parametrize("code", PLAIN, ids=range(len(PLAIN)))
def test_an_example_runs(code: str) -> None:
    run_code(code)


def test_the_set_up_is_two_commands() -> None:
    block = re.search(r"## Set up.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert len(block[1].strip().splitlines()) == 2


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_every_picture_and_link_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=identity)
def test_the_commands_of_a_page_are_those_of_the_program(page: Path) -> None:
    """Commands, flags and their values, but for files, which are not there."""
    for name, *words in commands_of(page):
        # With the settings of the program, because a command keeps its help option from its first context.
        above = click.Context(application, info_name="landscape", **application.context_settings)
        command = application.get_command(above, name)
        assert command is not None, name
        context = click.Context(command, parent=above, info_name=name, resilient_parsing=True)
        values, *_ = command.make_parser(context).parse_args(list(words))
        for parameter in command.params:
            if parameter.name in values and not isinstance(parameter.type, (click.Path, click.File)):
                parameter.type_cast_value(context, values[parameter.name])


def test_every_example_is_run_somewhere() -> None:
    """Here, or in the file of tests/integrations that runs what has one of these words; and how many there are."""
    elsewhere = ("landscape.measure(", "model=self, rho=0.05", "SAMTrainer", "GeometryCallback(")
    assert all(any(word in example for word in elsewhere) for example in WITH_A_LIBRARY)
    commands = sum(len(commands_of(page)) for page in PAGES)
    print(f"{len(PLAIN)} + {len(WITH_A_LIBRARY)} blocks of Python, {commands} commands, {len(PAGES)} pages")
    assert len(PLAIN) >= 20
    assert commands >= 80


@pytest.mark.thorough
def test_the_tutorial_runs(landscape: Callable[..., Result], tmp_path: Path) -> None:
    """Line by line, in an empty folder."""
    page = README.parent / "docs" / "tutorial.md"
    script = tmp_path / "own.py"
    script.write_text(next(code for code in EXAMPLES if code.startswith("# own.py")), encoding="utf-8")
    runpy.run_path(str(script), run_name="__main__")
    for words in commands_of(page):
        result = landscape(*(match for word in words for match in sorted(glob(word)) or [word]))
        assert result.code == 0, (words, result.err)
    assert {"measures.jsonl", "table.tex", "surfaces.pdf", "surfaces.tex", "reliefs.pdf"} <= set(os.listdir())


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
