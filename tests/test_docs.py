"""The examples of README and docs run, their tables are those of the program, the set-up is two commands."""

import re
import shlex
from pathlib import Path

import click
import pytest
from documented_examples import PAGES, PLAIN, README, run_code
from landscape.cli.application import application

from landscape.measures import MEASURES
from landscape.optim import OPTIMIZERS
from landscape.registry.names import Option

REFERENCE = README.parent / "docs" / "reference.md"


def with_default(option: Option) -> str:
    return f"`{option.name}={'…' if option.required else option.default}`"


def measures_table() -> str:
    lines = ["| measure | what | options | after |", "|---|---|---|---|"]
    for name, row in MEASURES.items():
        options = ", ".join(map(with_default, row.options.values())) or "–"
        lines.append(f"| `{name}` | {row.summary} | {options} | {row.reference or '–'} |")
    return "\n".join(lines)


def optimizers_table() -> str:
    lines = ["| optimizer | what | gradients a step | options | after |", "|---|---|---|---|---|"]
    for name in OPTIMIZERS:
        row = OPTIMIZERS[name]
        options = ", ".join(map(with_default, row.options.values())) or "–"
        lines.append(f"| `{name}` | {row.summary} | {row.cost} | {options} | {row.reference} |")
    return "\n".join(lines)


TABLES = {"measures": measures_table, "optimizers": optimizers_table}


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_and_link_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_command_of_the_documentation_exists() -> None:
    """The commands and the flags that the pages show are those of the program."""
    for page in PAGES:
        blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in filter(lambda text: text.startswith("landscape "), "".join(blocks).splitlines()):
            words = shlex.split(line, comments=True)
            command = application.get_command(click.Context(application), words[1])
            assert command is not None, line
            flags = {
                flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)
            }
            assert {word for word in words[2:] if re.match("-{1,2}[a-zA-Z]", word)} <= flags, line


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
