"""Groups of flags: a command with many flags receives a few values."""

from dataclasses import dataclass

import click
from click.testing import CliRunner
from landscape.cli import options


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
