"""``landscape demo``: the first minute, on data that comes with the package."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from landscape.comparison import compare
from landscape.processes import refuse_joint_command
from landscape.records.estimate import Estimate
from landscape.records.storage import write_whole

from . import options
from .drawing import write_drawing
from .help import ExamplesFirst
from .progress import Bar, duration, run_progress

if TYPE_CHECKING:
    from landscape.objective import Objective
    from landscape.training import Run

OPTIMIZERS = ("sgd", "sam:rho=0.1")
SEEDS = (0, 1, 2)
MEASURES: dict[Literal["test", "train"], tuple[str, ...]] = {
    "test": ("accuracy",),
    "train": (
        "loss",
        "gradient-norm",
        "surrogate-gap:rho=0.1",
        "dominant-eigenvalue",
        "hessian-trace:tolerance=0.05",
    ),
}
"""By split; with these, the table fits a screen."""

NEXT = """Next, with a network of your own:
  landscape inspect checkpoint.pt
  landscape measure checkpoint.pt -m ./own.py:Net -d ./own.py:data
  landscape surface checkpoint.pt -m ./own.py:Net -d ./own.py:data -o surface.pdf"""


@click.command(name="demo", cls=ExamplesFirst)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("landscape-demo"),
    show_default=True,
    help="Folder for runs, table and figure.",
)
@options.quiet
def command(output: Path, quiet: bool) -> None:
    """Trains SGD and SAM on the bundled digits, measures both, draws both on one colour scale.

    \b
      landscape demo
      landscape demo -o /tmp/demo

    It needs no network, takes about a minute on two cores, and continues where it was interrupted.
    """
    from landscape.checkpoints import load_checkpoint
    from landscape.measures import measure
    from landscape.plotting.figure_options import FigureOptions
    from landscape.records.surface import Surface

    refuse_joint_command("demo")
    start = time.monotonic()
    estimates: list[Estimate] = []
    surfaces = []
    for optimizer in OPTIMIZERS:
        for seed in SEEDS:
            name = f"{optimizer.partition(':')[0]}-{seed}"
            run = _trained(optimizer, seed, output / "runs" / name, quiet=quiet)
            checkpoint = load_checkpoint(run.checkpoint)
            for split, measures in MEASURES.items():
                objective = checkpoint.objective(split)
                with Bar(f"measure {name}", quiet=quiet) as bar:
                    objective.ledger.listener = bar.tell
                    estimates += measure(objective, measures, records=run.path / "measures.jsonl")
            if seed == SEEDS[0]:
                file = output / f"{name}.npz"
                if not file.exists():
                    # In one batch, in which a network so small is quickest.
                    _sample(checkpoint.objective("train", batch_size=2048), file, optimizer, quiet=quiet)
                surfaces.append(Surface.load(file))
    table = compare(estimates)
    write_whole(output / "table.txt", (table.text() + "\n").encode())
    write_whole(output / "table.tex", (table.latex() + "\n").encode())
    figure_options = FigureOptions(venue="neurips", width="text", titles=("SGD", "SAM"))
    figure, *_ = write_drawing(surfaces, output / "surfaces.png", figure_options)
    click.echo(table.text())
    click.echo(f"\nTable {output / 'table.txt'}, figure {figure}, runs {output / 'runs'}.")
    if not quiet:
        click.echo(f"It took {duration(time.monotonic() - start)}.", err=True)
        click.echo(
            f"Again, with every sentence: landscape compare {shlex.quote(str(output / 'runs'))} --verbose",
            err=True,
        )
        click.echo(NEXT, err=True)


def _trained(optimizer: str, seed: int, folder: Path, *, quiet: bool) -> "Run":
    from landscape.training import Recipe, train

    recipe = Recipe(optimizer=optimizer, seed=seed, epochs=40, device="cpu")
    with Bar(f"train {folder.name}", quiet=quiet, counted=True) as bar:
        return train(recipe, output=folder, progress=lambda progress: bar.tell(*run_progress(progress)))


def _sample(objective: "Objective", file: Path, label: str, *, quiet: bool) -> None:
    from landscape.surfaces.sampling import sample_surface

    with Bar(f"surface {file.stem}", quiet=quiet, counted=True) as bar:
        surface = sample_surface(
            objective,
            points=31,
            progress=lambda done, total: bar.tell(f"{done} of {total} points", done / total),
        )
        surface.described(label=label, command="landscape demo").save(file)
