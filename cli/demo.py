"""``landscape demo``: the first minute, on data that comes with the package."""

import shlex
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from landscape.comparison import compare
from landscape.errors import InputError, Remark
from landscape.processes import refuse_joint_command
from landscape.records.estimate import Estimate
from landscape.records.storage import write_whole

from . import options
from .drawing import write_drawing
from .help import ExamplesFirst
from .progress import Bar, duration

if TYPE_CHECKING:
    from landscape.training.job import Job

OPTIMIZERS = ("sgd", "sam:rho=0.1")
SEEDS = (0, 1, 2)
EPOCHS = 40
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

    It needs no network, takes about half a minute on two cores, and continues where it was interrupted.
    """
    from landscape.plotting.figure_options import FigureOptions
    from landscape.records.surface import Surface

    refuse_joint_command("demo")
    start = time.monotonic()
    with Bar("demo", quiet=quiet, counted=True) as bar:
        estimates = _trained_and_measured(output, bar)
    surfaces = [Surface.load(output / f"{_name(optimizer, SEEDS[0])}.npz") for optimizer in OPTIMIZERS]
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


def _name(optimizer: str, seed: int) -> str:
    return f"{optimizer.partition(':')[0]}-{seed}"


def _trained_and_measured(output: Path, bar: Bar) -> list[Estimate]:
    """Trains all runs in two processes; this one measures and draws each as soon as it is trained."""
    from landscape.training import Recipe
    from landscape.training.job import Job
    from landscape.training.lock import refuse_locked
    from landscape.training.plan import cores, threads_set
    from landscape.training.pool import Event, Pool

    # The first seeds of all optimizers come first, because these are drawn, which takes longest after the training.
    jobs = [
        Job(Recipe(optimizer=o, seed=s, epochs=EPOCHS, device="cpu"), output / "runs" / _name(o, s))
        for s in SEEDS
        for o in OPTIMIZERS
    ]
    for job in jobs:
        refuse_locked(job.folder)
    shares = [0.0] * len(jobs)
    found: dict[int, list[Estimate]] = {}

    def notice(event: Event) -> None:
        job = jobs[event.index]
        match event.kind:
            case "warning":
                warnings.warn(event.fields["text"], Remark, stacklevel=2)
            case "failed":
                raise InputError(event.fields["reason"])
            case "progress":
                shares[event.index] = event.fields["step"] / event.fields["steps"]
                _tell(bar, shares, f"train {job.folder.name}")
            case "done":
                shares[event.index] = 1.0
                _tell(bar, shares, f"measure {job.folder.name}")
                found[event.index] = _measured(job, output)

    with threads_set(1):
        Pool(jobs, processes=min(2, cores()), threads=1).run(notice)
    return [estimate for index in sorted(found) for estimate in found[index]]


def _tell(bar: Bar, shares: Sequence[float], words: str) -> None:
    bar.tell(words, sum(shares) / len(shares))


def _measured(job: "Job", output: Path) -> list[Estimate]:
    """Measures a run, and samples its surface if it has the first seed."""
    from landscape.checkpoints import load_checkpoint
    from landscape.measures import measure
    from landscape.surfaces.sampling import sample_surface

    checkpoint = load_checkpoint(job.folder / "checkpoint.pt")
    records = job.folder / "measures.jsonl"
    found = [
        estimate
        for split, measures in MEASURES.items()
        for estimate in measure(checkpoint.objective(split), measures, records=records, progress=False)
    ]
    file = output / f"{job.folder.name}.npz"
    if job.recipe.seed == SEEDS[0] and not file.exists():
        # In one batch, in which a network so small is quickest.
        surface = sample_surface(checkpoint.objective("train", batch_size=2048), points=31)
        surface.described(label=job.recipe.optimizer, command="landscape demo").save(file)
    return found
