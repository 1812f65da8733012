"""``landscape demo``: the first minute, on data that is already there."""

import dataclasses
import time
from pathlib import Path

import click

from landscape import records
from landscape.comparison import compare
from landscape.records.storage import write_whole

from . import options
from .drawing import write_drawing
from .help import ExamplesFirst
from .progress import Bar, duration
from .train import told

OPTIMIZERS = ("sgd", "sam:rho=0.1")
SEEDS = (0, 1, 2)
MEASURES = (
    "accuracy",
    "loss",
    "gradient-norm",
    "surrogate-gap:rho=0.1",
    "dominant-eigenvalue",
    "hessian-trace:tolerance=0.05",
    "normalized-trace:tolerance=0.05",
    "approximation-ratio:rho=0.1",
)


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

    No network is needed; it takes about a minute on two cores, and goes on where it was interrupted.
    """
    from landscape.checkpoints import load_checkpoint
    from landscape.measures import MEASURES as TABLE
    from landscape.plotting.figure_options import FigureOptions
    from landscape.records.surface import Surface
    from landscape.surfaces.sampling import sample_surface
    from landscape.training import Recipe, train

    start = time.monotonic()
    taken = []
    figures = []
    for optimizer in OPTIMIZERS:
        for seed in SEEDS:
            name = f"{optimizer.partition(':')[0]}-{seed}"
            recipe = Recipe(optimizer=optimizer, seed=seed, epochs=40, device="cpu")
            with Bar(f"train {name}", quiet=quiet) as bar:
                run = train(
                    recipe,
                    output=output / "runs" / name,
                    progress=lambda at, shown=bar: shown.tell(told(at), at.step / at.steps),  # type: ignore[misc]
                )
            objective = load_checkpoint(run.checkpoint).objective("train")
            origin = dataclasses.replace(objective.provenance, loss_value=objective.loss)
            file = run.path / "measures.jsonl"
            known = records.read(file).estimates if file.is_file() else ()
            with Bar(f"measure {name}", quiet=quiet) as bar:
                objective.ledger.listener = bar.tell
                for spec in MEASURES:
                    settings = TABLE.settings(spec)
                    found = records.find(
                        known, measure=TABLE.parse(spec).name, settings=settings, provenance=origin
                    )
                    if found is None:
                        found = TABLE.build(spec, objective)
                        records.append(file, found)
                    taken.append(found)
            if seed == SEEDS[0]:
                numbers = output / f"{name}.npz"
                if not numbers.exists():
                    with Bar(f"surface {name}", quiet=quiet) as bar:
                        sample_surface(
                            objective,
                            points=31,
                            progress=lambda done, total, shown=bar: shown.tell(  # type: ignore[misc]
                                f"{done} of {total} points", done / total
                            ),
                        ).described(label=optimizer, command="landscape demo").save(numbers)
                figures.append(numbers)
    table = compare(taken)
    write_whole(output / "table.txt", (table.text() + "\n").encode())
    write_whole(output / "table.tex", (table.latex() + "\n").encode())
    figure_options = FigureOptions(venue="neurips", width="text", titles=("SGD", "SAM"))
    drawn = write_drawing([Surface.load(file) for file in figures], output / "surfaces.png", figure_options)
    click.echo(table.text())
    click.echo(f"\nTable {output / 'table.txt'}, figure {drawn[0]}, runs {output / 'runs'}.")
    if not quiet:
        click.echo(f"It took {duration(time.monotonic() - start)}.", err=True)
