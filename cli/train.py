"""``landscape train``: one run, or optimizers × seeds."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from landscape.errors import InputError, UsageError

from . import options
from .help import ExamplesFirst
from .progress import Bar
from .train_several import summary, train_plan

if TYPE_CHECKING:
    from landscape.training import Job, Measuring, Progress, Recipe, Run
    from landscape.training.budget import Budget


@click.command(name="train", cls=ExamplesFirst)
@click.option(
    "--preset",
    metavar="NAME",
    help="A paper's recipe, see `landscape list presets`; other flags and the config file come first.",
)
@click.option("-m", "--model", default="mlp", show_default=True, help="See `landscape list models`.")
@click.option("-d", "--data", default="digits", show_default=True, help="See `landscape list data`.")
@click.option(
    "--optimizer",
    "--optimizers",
    "optimizers",
    default="sgd",
    show_default=True,
    metavar="NAME[:OPTION=VALUE,…],…",
    help="One or several, with commas between; see `landscape list optimizers`.",
)
@click.option("--base", default="sgd", show_default=True, help="What takes the step under SAM and relatives.")
@click.option("--lr", type=float, default=0.1, show_default=True, help="Learning rate at its highest.")
@click.option("--epochs", type=int, default=20, show_default=True, help="How often each example is seen.")
@click.option("-b", "--batch-size", type=int, default=128, show_default=True, help="Examples a step.")
@click.option("--warmup-epochs", type=int, default=0, show_default=True, help="Epochs of linear warm-up.")
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "linear", "constant"]),
    default="cosine",
    show_default=True,
    help="Of the learning rate.",
)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True, help="Of the training loss.")
@click.option("--max-grad-norm", type=float, help="Clips the final direction of a step.")
@click.option(
    "--seed", "--seeds", "seeds", default="0", show_default=True, help="One, or several: 0-2, 0,1,5."
)
@options.device
@options.dtype
@click.option(
    "--label-noise",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of wrong training labels, up to 0.8.",
)
@click.option(
    "--augment",
    type=click.Choice(["none", "basic", "cutout", "autoaugment"]),
    default="none",
    show_default=True,
    help="Of pictures: crops and mirroring; and a hole; or and a learned policy.",
)
@click.option(
    "--accumulate", type=int, default=1, show_default=True, help="Micro-batches that a batch is cut into."
)
@click.option(
    "--accumulation",
    type=click.Choice(["full-batch", "m-sam"]),
    default="full-batch",
    show_default=True,
    help="One displacement for the batch, or one for each micro-batch.",
)
@click.option("--ema", type=float, help="Evaluate and keep a moving average of the weights with this decay.")
@click.option(
    "--precision", default="full", show_default=True, metavar="full|bf16", help="Of forward passes."
)
@click.option("--save-every", type=click.IntRange(min=1), help="Keep a checkpoint every so many epochs.")
@click.option(
    "--measure-every",
    type=click.IntRange(min=1),
    help="Measure on train and test every so many epochs, into measures-history.jsonl.",
)
@click.option(
    "--measure-names",
    metavar="NAME[:OPTION=VALUE,…],…",
    help="What then; a cheap set by default, see `landscape list measures`.",
)
@click.option(
    "--measure-limit",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="On how many examples of each, the same ones every time.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The run's folder, or the folder of all runs if there are several; under runs/ by default.",
)
@click.option(
    "--track",
    metavar="NAME[:OPTION=VALUE,…],…",
    help="Also log to these, see `landscape list trackers`; one that fails does not stop a run.",
)
@click.option(
    "--budget",
    type=click.Choice(["epochs", "gradients"]),
    default="epochs",
    show_default=True,
    help="What several optimizers get alike; with gradients, --epochs is for one gradient a step.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs at a time, with the threads divided; by default one a core, if the work is worth it.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the plan of several runs with a time estimate; train nothing."
)
@options.resume
@options.overwrite
@options.quiet
@options.config
@click.pass_context
def command(
    ctx: click.Context,
    /,
    preset: str | None,
    optimizers: str,
    seeds: str,
    save_every: int | None,
    measure_every: int | None,
    measure_names: str | None,
    measure_limit: int,
    track: str | None,
    output: Path | None,
    budget: "Budget",
    jobs: int | None,
    dry_run: bool,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    device: str,
    **settings: Any,
) -> None:
    """Trains networks; resumes where an interrupted run stopped.

    \b
      landscape train --data digits --optimizer gsam --epochs 20 -o runs/gsam
      landscape train --optimizers sgd,sam,gsam:rho=0.1 --seeds 0-2 -o runs/demo
    """
    from landscape.tracking import TRACKERS
    from landscape.training import Job, Recipe

    measuring = _measuring(measure_every, measure_names, measure_limit)
    where = options.chosen_device(device)
    if preset is not None:
        settings = _with_preset(preset, settings | {"optimizer": optimizers}, ctx)
        optimizers = settings.pop("optimizer")
    recipes = [
        Recipe(optimizer=optimizer, seed=seed, device=where, **settings)
        for optimizer in options.listed(optimizers)
        for seed in options.numbers(seeds)
    ]
    folders = run_folders(recipes, output)
    trackers = [] if track is None else options.listed(track)
    for name in trackers:
        TRACKERS.build(name)
    todo = [
        Job(recipe, folder, resume, overwrite, save_every, measuring, trackers)
        for recipe, folder in zip(recipes, folders, strict=True)
    ]
    if len(todo) > 1 or dry_run:
        runs = train_plan(todo, budget=budget, jobs=jobs, dry_run=dry_run, quiet=quiet)
    else:
        runs = [_trained(todo[0], quiet=quiet)]
    if dry_run:
        return
    click.echo(summary(runs))
    if not quiet:
        place = runs[0].path if len(runs) == 1 else runs[0].path.parent
        click.echo(f"Next: landscape {'measure' if len(runs) == 1 else 'compare'} {place}", err=True)


def _trained(job: "Job", *, quiet: bool) -> "Run":
    """The one run that was asked for."""
    from landscape.training import DivergedError, train_job

    with Bar(str(job.folder), quiet=quiet) as bar:
        try:
            return train_job(job, progress=lambda at: bar.tell(told(at), at.step / at.steps))
        except DivergedError as failure:
            raise InputError(str(failure)) from failure


def _with_preset(name: str, settings: dict[str, Any], ctx: click.Context) -> dict[str, Any]:
    """The settings, with the preset's in place of those that neither a flag nor the config file gives."""
    from landscape.training import PRESETS

    parameters = {"optimizers" if field == "optimizer" else field: field for field in settings}
    given = {
        field: settings[field]
        for parameter, field in parameters.items()
        if ctx.get_parameter_source(parameter) is not ParameterSource.DEFAULT
    }
    return settings | PRESETS.row(name).completed(given)


def _measuring(every: int | None, names: str | None, limit: int) -> "Measuring | None":
    """What the flags ask to be measured on the way."""
    from landscape.training import Measuring
    from landscape.training.measured import CHEAP

    if every is None:
        if names is not None:
            raise UsageError("--measure-names needs --measure-every: how many epochs there are in between")
        return None
    return Measuring(every, names=CHEAP if names is None else options.listed(names), limit=limit)


def run_folders(recipes: "Sequence[Recipe]", output: Path | None) -> list[Path]:
    """Where each run goes: the folder given if there is one run, else a folder of its own inside."""
    names = [re.sub(r"[^\w.=-]+", "-", f"{recipe.optimizer}-{recipe.seed}") for recipe in recipes]
    if len(recipes) == 1:
        return [output or Path("runs") / names[0]]
    return [(output or Path("runs")) / name for name in names]


def told(at: "Progress") -> str:
    """A run's progress in a few words."""
    accuracy = "" if at.test_accuracy is None else f", test {at.test_accuracy:.1%}"
    return f"epoch {at.epoch} of {at.epochs}, loss {at.loss:.4g}{accuracy}"
