"""README's examples run, its tables are those of the program, its set-up is two commands."""

import re
from pathlib import Path

import pytest
from readme_examples import PLAIN, run_code

from landscape.measures import MEASURES
from landscape.optim import OPTIMIZERS
from landscape.registry.names import Option

README = Path(__file__).parent.parent / "README.md"


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
    text = README.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run: python tests/test_readme.py"


@pytest.mark.parametrize("code", PLAIN, ids=range(len(PLAIN)))
def test_an_example_runs(code: str) -> None:
    run_code(code)


def test_the_set_up_is_two_commands() -> None:
    block = re.search(r"## Set up.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert len(block[1].strip().splitlines()) == 2


def test_every_picture_and_link_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
