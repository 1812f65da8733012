"""Groups of flags: a command with many flags receives a few values."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner
from landscape.cli import options

from landscape.errors import UsageError


@dataclass(frozen=True)
class Grid:
    points: int
    span: float


@click.command()
@click.argument("name")
@click.option("--points", type=int, default=3)
@click.option("--span", type=float, default=1.0)
@options.source_flags
@options.gathered(grid=Grid)
def command(name: str, grid: Grid, source: options.Source) -> None:
    click.echo((name, grid, source.model, source.trust))


def test_flags_of_a_group_arrive_as_one_value():
    result = CliRunner().invoke(command, ["a", "--points", "5", "-m", "mlp"])
    assert result.output.strip() == str(("a", Grid(5, 1.0), "mlp", False))


@click.command()
@options.measures("names", help="Measures.")
@options.config
def measuring(names: tuple[str, ...]) -> None:
    click.echo(names)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ([], ()),
        (["-M", "a,b:rho=0.1,c"], ("a", "b:rho=0.1", "c")),
        (["-M", "a", "--measure", "b:rho=0.1,alpha=2"], ("a", "b:rho=0.1,alpha=2")),
        (["-M", "a, b", "-M", "b,a,c"], ("a", "b", "c")),
        (["-M", "test:a,train:b:k=2,end=largest"], ("test:a", "train:b:k=2,end=largest")),
    ],
)
def test_measures_are_repeated_flags_and_lists_with_commas(flags, names):
    result = CliRunner().invoke(measuring, flags, standalone_mode=False)
    assert (result.exception, result.output.strip()) == (None, str(names))


@pytest.mark.parametrize("line", ['measure = ["a", "b:rho=0.1,k=2"]', 'measure = "a,b:rho=0.1,k=2"'])
def test_measures_of_a_file_are_a_list_or_a_text(tmp_path, line):
    (tmp_path / "c.toml").write_text(line)
    result = CliRunner().invoke(measuring, ["-c", str(tmp_path / "c.toml")])
    assert result.output.strip() == str(("a", "b:rho=0.1,k=2"))


def test_a_measure_without_a_name_is_refused():
    result = CliRunner().invoke(measuring, ["-M", "a", "-M", " ,"])
    assert isinstance(result.exception, UsageError)
    assert "' ,' names nothing" in str(result.exception)
