"""``landscape train``: one run, or optimizers × seeds."""

import re
import shlex
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.core import ParameterSource

from landscape.errors import InputError, UsageError
from landscape.processes import launch
from landscape.processes.starting import starts
from landscape.tables.escaping import visible
from landscape.training.recipe import FLAGS, SETTINGS, Budget, Recipe, subject_tables

from . import options
from .help import ExamplesFirst
from .progress import Bar, run_progress
from .ranks import in_processes
from .sweeps import Sweeping, launched, one_run, planned, require_plan_alone
from .train_several import notes_text, say_finished, summary, train_plan

if TYPE_CHECKING:
    from landscape.training import Job, Measuring, Progress, Run

F = TypeVar("F", bound=Callable[..., Any])


def recipe_flags(function: F) -> F:
    """The command with a flag for every field of :class:`Recipe`, in the order of the fields."""
    for setting in reversed(SETTINGS):  # the decorator applied last comes first in the help
        flag = setting.flag
        spellings = [f"--{setting.name.replace('_', '-')}", *([flag.spelling] if flag.spelling else [])]
        function = click.option(
            *spellings,
            setting.name,
            type=str if flag.metavar else click.Choice(setting.choices) if setting.choices else setting.kind,
            is_flag=setting.kind is bool,
            metavar=flag.metavar,
            default=setting.default,
            show_default=flag.default or True,
            help=flag.help,
        )(function)
    return function


Interval = tuple[int, Literal["epochs", "steps"]]


def _interval(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Interval | None:
    """The value of ``--measure-every``: a number of epochs, or of steps with that word behind it."""
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*(epochs?|steps?)?\s*", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is neither a number of epochs (5) nor one of steps (50steps)")
    count = click.IntRange(min=1).convert(int(match[1]), parameter, ctx)
    return count, "steps" if (match[2] or "").startswith("step") else "epochs"


@click.command(name="train", cls=ExamplesFirst)
@click.option(
    "--preset",
    metavar="NAME",
    help="A paper's recipe, see `landscape list presets`. Precedence: flags, then the -c file, then the preset.",
)
@recipe_flags
@click.option("--save-every", type=click.IntRange(min=1), help="Keep a checkpoint every so many epochs.")
@click.option(
    "--measure-every",
    metavar="N|Nsteps",
    callback=_interval,
    help="Measure on train and test every so many epochs, or steps (50steps), into measures-history.jsonl.",
)
@options.measures(
    *("--measure-names", "measure_names"),
    help="The measures of --measure-every, see `landscape list measures`; a cheap set by default.",
)
@click.option(
    "--measure-limit",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Examples of each split that are measured, the same ones every time.",
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
    type=click.Choice(typing.get_args(Budget)),
    default="epochs",
    show_default=True,
    help="What all optimizers get the same number of; with gradients, --epochs is for one gradient per step.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs at a time, with the threads divided; by default one per core, if the work is worth it.",
)
@click.option(
    "--devices",
    metavar="I,I,…",
    help="One run a GPU on these: 0,1,…; as many at a time as there are.",
)
@click.option(
    "--write-plan",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.jsonl",
    help="Train nothing; write all runs into a plan, a line each, from which any node can train one.",
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="A plan of --write-plan, in place of all flags of training.",
)
@click.option(
    "--index",
    metavar="I|auto",
    help="Train this run of the plan, from 0; auto: the array task of Slurm or the index of Kubernetes.",
)
@click.option(
    "--launcher",
    type=click.Choice(["local", "slurm", "sbatch"]),
    help="Train the whole plan: here, as an array of Slurm (extra slurm), or print the text for sbatch.",
)
@click.option(
    "--slurm",
    metavar="KEY=VALUE,…",
    help="Options of sbatch for the launcher: partition=gpu,time=4:00:00,gpus-per-node=1,….",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the plan of several runs with a time estimate; train nothing."
)
@options.processes
@options.resume
@options.overwrite
@options.quiet
@options.config
@click.pass_context
@options.gathered(sweeping=Sweeping)
def command(
    ctx: click.Context,
    /,
    sweeping: Sweeping,
    preset: str | None,
    output: Path | None,
    budget: Budget,
    jobs: int | None,
    dry_run: bool,
    processes: int | None,
    quiet: bool,
    **flags: Any,
) -> int | None:
    """Trains networks; resumes where an interrupted run stopped.

    \b
      landscape train --data digits --optimizer gsam --epochs 20 -o runs/gsam
      landscape train --optimizers sgd,sam,gsam:rho=0.1 --seeds 0-2 -o runs/demo

    Several processes (--processes, torchrun, srun) divide every batch of one run and end with the same weights.
    """
    if starts(processes):
        _refuse_several_runs(flags, sweeping, jobs=jobs, dry_run=dry_run)
        return in_processes(processes or 1)
    if launch() is not None:
        _refuse_several_runs(flags, sweeping, jobs=jobs, dry_run=dry_run)
    from landscape.processes.joint import joint

    with joint("train", device=flags["device"]):
        _run(
            ctx,
            sweeping,
            preset=preset,
            output=output,
            budget=budget,
            jobs=jobs,
            dry_run=dry_run,
            quiet=quiet,
            flags=flags,
        )
    return None


def _refuse_several_runs(
    flags: Mapping[str, Any], sweeping: Sweeping, *, jobs: int | None, dry_run: bool
) -> None:
    """Raises a :class:`UsageError` for what is more than one run: processes that start together take its steps."""
    named = len(options.listed(flags["optimizer"])) * len(options.numbers(flags["seed"]))
    several = sweeping.plan is None and named > 1
    if several or dry_run or jobs is not None or sweeping.launcher or sweeping.write_plan or sweeping.devices:
        raise UsageError(
            "several processes (--processes, torchrun, srun) take the steps of one run together, and these flags are "
            "for several runs: leave --processes out and use --jobs N for runs at a time, or write a plan "
            "(--write-plan) and train one run of it in several processes with --plan and --index"
        )


def _run(
    ctx: click.Context,
    sweeping: Sweeping,
    *,
    preset: str | None,
    output: Path | None,
    budget: Budget,
    jobs: int | None,
    dry_run: bool,
    quiet: bool,
    flags: dict[str, Any],
) -> None:
    if sweeping.plan is not None:
        require_plan_alone(ctx, sweeping)
        if sweeping.launcher is not None:
            launched(sweeping, jobs=jobs, quiet=quiet)
            return
        with one_run(sweeping, device=typed_device(ctx, flags["device"])) as job:
            click.echo(summary([_trained(job, quiet=quiet)]))
        return
    devices = sweeping.chosen_devices(flags["dtype"]) if sweeping.write_plan is None else []
    work = _jobs(ctx, sweeping, devices, preset=preset, output=output, flags=flags)
    jobs = jobs or len(devices) or None
    if sweeping.write_plan is not None:
        planned(sweeping, work, budget=budget, jobs=jobs, dry_run=dry_run, quiet=quiet)
        return
    sweeping.require_plan()
    if len(work) > 1 or dry_run:
        runs = train_plan(work, budget=budget, jobs=jobs, dry_run=dry_run, quiet=quiet, devices=devices)
    else:
        runs = [_trained(work[0], quiet=quiet)]
    if dry_run:
        return
    click.echo(summary(runs))
    if not quiet:
        click.echo("Next: " + "\n      ".join(next_commands(runs)), err=True)


def _jobs(
    ctx: click.Context,
    sweeping: Sweeping,
    devices: Sequence[str],
    *,
    preset: str | None,
    output: Path | None,
    flags: dict[str, Any],
) -> "list[Job]":
    """A run for every optimizer and seed that the flags name."""
    from landscape.tracking import TRACKERS
    from landscape.training import PRESETS, Job

    fields = {setting.name: flags.pop(setting.name) for setting in SETTINGS}
    measuring = _measuring(*(flags.pop(f"measure_{name}") for name in ("every", "names", "limit")))
    if devices:
        if ctx.get_parameter_source("device") is not ParameterSource.DEFAULT:
            raise UsageError(
                "--devices names the device of every run, and so does --device; leave one of them out"
            )
        fields["device"] = devices[0]
    elif sweeping.write_plan is None:  # a plan says auto, because another machine may have other devices
        fields["device"] = options.chosen_device(fields["device"], fields["dtype"])
    if preset is not None:
        if fields["task"] is not None:
            raise UsageError("--preset names a model and data, and so does --task; choose one of them")
        defaults = {n for n in fields if ctx.get_parameter_source(n) is ParameterSource.DEFAULT}
        typed = {name: value for name, value in fields.items() if name not in defaults}
        fields |= PRESETS.row(preset).completed(typed)
    recipes = [
        Recipe(**{**fields, "optimizer": optimizer, "seed": seed})
        for optimizer in options.listed(fields["optimizer"])
        for seed in options.numbers(fields["seed"])
    ]
    track = flags.pop("track")
    trackers = [] if track is None else options.listed(track)
    for name in trackers:
        TRACKERS.build(name)
    return [
        Job(recipe, folder, measuring=measuring, trackers=trackers, **flags)
        for recipe, folder in zip(recipes, run_folders(recipes, output), strict=True)
    ]


def next_commands(runs: "Sequence[Run]") -> list[str]:
    """The next commands, quoted for the shell; they repeat the flags that name code, because a run may not name any."""
    # A surface beside that of the first run: of the last optimizer, with the same seed.
    last = next(run for run in runs if run.recipe.optimizer == runs[-1].recipe.optimizer)
    folder = runs[0].path if len(runs) == 1 else runs[0].path.parent
    paths = (folder, folder / "surface.pdf", runs[0].path, last.path)
    place, figure, first, other = (shlex.quote(str(path)) for path in paths)
    flags = " ".join(naming_flags(runs[0].recipe))
    commands = [f"measure {first}", f"surface {first} -o {figure}"]
    if len(runs) > 1:
        commands = [f"compare {place}", f"measure {first}", f"surface {first} {other} -o {figure}"]
    return [f"landscape {command} {flags}".rstrip() for command in commands]


def naming_flags(recipe: Recipe) -> list[str]:
    """The flags that a checkpoint may not supply: code, and folders whose reading runs code."""
    flags = []
    for name, table in subject_tables().items():
        text = getattr(recipe, name)
        if text is None or (name != "task" and text == recipe.task):
            continue
        # A task takes precedence over the recipe, so flags that replaced one of its parts are repeated as well.
        if recipe.task is not None or table.admitted(text) is None:
            flags += [FLAGS[name], shlex.quote(text)]
    return flags


def typed_device(ctx: click.Context, name: str) -> str | None:
    """The device that the user has named; ``None`` if it is the default."""
    return None if ctx.get_parameter_source("device") is ParameterSource.DEFAULT else name


def _trained(job: "Job", *, quiet: bool) -> "Run":
    from landscape.training import DivergedError, train_job

    steps: list[int] = []

    def assumed(notes: Sequence[str]) -> None:
        if not quiet:
            click.echo("\n".join([visible(job.recipe.data), *notes_text(notes)]), err=True)

    with Bar(str(job.folder), quiet=quiet, counted=True) as bar:

        def progress(now: "Progress") -> None:
            steps[:] = [now.step]
            bar.tell(*run_progress(now))

        try:
            run = train_job(job, progress=progress, assumed=assumed)
        except DivergedError as failure:
            raise InputError(str(failure)) from failure
    if not steps and not quiet:
        say_finished([run.path])
    return run


def _measuring(every: Interval | None, names: tuple[str, ...], limit: int) -> "Measuring | None":
    from landscape.training.measured import CHEAP, Measuring

    if every is None:
        if names:
            raise UsageError(
                "-M/--measure-names needs --measure-every, the number of epochs or steps between measurements"
            )
        return None
    count, unit = every
    return Measuring(count, names=names or CHEAP, limit=limit, unit=unit)


def run_folders(recipes: Sequence[Recipe], output: Path | None) -> list[Path]:
    """The folder of each run: ``output`` itself for a single run, otherwise a folder inside it."""
    if output is not None and len(recipes) == 1:
        return [output]
    # Other characters, such as the colon of an option, are not allowed in names on every system.
    names = [re.sub(r"[^\w.=-]+", "-", f"{recipe.optimizer}-{recipe.seed}") for recipe in recipes]
    return [(output or Path("runs")) / name for name in names]
