"""``landscape train`` of a plan: writes it, trains one of its runs, or launches all of them."""

import contextlib
import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from landscape.errors import UsageError
from landscape.registry.extras import install
from landscape.training.recipe import Budget

from . import options
from .progress import Bar
from .train_several import report, summary, train_plan

if TYPE_CHECKING:
    from landscape.training import Job, Run, Sweep
    from landscape.training.local_sweep import LocalSweep

_WITH_PLAN = {"plan", "index", "launcher", "slurm", "devices", "device", "jobs", "quiet", "processes"}
"""The flags that say where and how, not what, so that they may stand beside a plan."""


@dataclass(frozen=True)
class Sweeping:
    """The flags of plans and of what trains them."""

    write_plan: Path | None
    plan: Path | None
    index: str | None
    launcher: str | None
    slurm: str | None
    devices: str | None

    def require_plan(self) -> None:
        """Refuses flags that mean nothing without a plan."""
        for name in ("index", "launcher", "slurm"):
            if getattr(self, name) is not None:
                raise UsageError(
                    f"--{name} belongs to a plan: write one with --write-plan plan.jsonl, then give --plan plan.jsonl"
                )

    def require_launcher(self) -> None:
        """Refuses flags of a launcher that is not the one of the command."""
        if self.slurm is not None and self.launcher not in ("slurm", "sbatch"):
            raise UsageError(
                "--slurm holds options of sbatch, for --launcher slurm and --launcher sbatch; leave it out"
            )
        if self.devices is not None and self.launcher != "local":
            raise UsageError("--devices shares the GPUs of this machine, with --launcher local; leave it out")

    def chosen_devices(self, dtype: str | None) -> list[str]:
        """The devices of ``--devices``, checked for existence; empty if the flag is not set."""
        if self.devices is None:
            return []
        names = [part.strip() for part in self.devices.split(",") if part.strip()]
        if not names:
            raise UsageError(f"--devices {self.devices!r} names no GPU; write their numbers: 0,1")
        devices = [f"cuda:{int(name.removeprefix('cuda:'))}" for name in names if _GPU.fullmatch(name)]
        wrong = next((name for name in names if not _GPU.fullmatch(name)), None)
        if wrong is not None:
            raise UsageError(
                f"--devices {wrong} is not the number of a GPU, such as 0 or cuda:0; write 0,1,…"
            )
        twice = next((name for name in devices if devices.count(name) > 1), None)
        if twice is not None:
            raise UsageError(
                f"--devices names {twice} twice; name it once, and give --jobs {len(devices)} to have more runs on it"
            )
        return [_present(name, dtype) for name in devices]


_GPU = re.compile(r"(?:cuda:)?\d{1,4}")


def _present(name: str, dtype: str | None) -> str:
    try:
        return options.chosen_device(name, dtype)
    except UsageError as failure:
        raise UsageError(str(failure).replace(f"--device {name}", f"--devices {name}")) from failure


def require_plan_alone(ctx: click.Context, sweeping: Sweeping) -> None:
    """Refuses flags beside a plan that it holds itself, and a plan without a word on which of its runs are meant."""
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name not in _WITH_PLAN and ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
            raise UsageError(
                f"{parameter.opts[0]} cannot stand beside --plan, which holds what is trained; leave it out, or write "
                "another plan with it: --write-plan"
            )
    if (sweeping.index is None) == (sweeping.launcher is None):
        raise UsageError(
            "--plan needs either --index I, the run that is trained, or --launcher local|slurm|sbatch, which trains all"
        )
    sweeping.require_launcher()
    if sweeping.launcher is not None and ctx.get_parameter_source("device") is not ParameterSource.DEFAULT:
        raise UsageError(
            "--device is for the run of --index; with --launcher local name GPUs with --devices 0,1,…"
        )
    if sweeping.index is not None and ctx.get_parameter_source("jobs") is not ParameterSource.DEFAULT:
        raise UsageError("--jobs is for --launcher; --index trains one run")


def planned(
    sweeping: Sweeping,
    work: "Sequence[Job]",
    *,
    budget: Budget,
    jobs: int | None,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Writes the plan of all runs and says how to train them, or launches it at once."""
    from landscape.training import plan_runs, write_sweep

    if sweeping.index is not None or dry_run:
        other = "--dry-run" if dry_run else "--index"
        raise UsageError(f"--write-plan trains nothing, and {other} belongs to what trains; leave it out")
    if work[0].overwrite or not work[0].resume:
        flag = "--overwrite" if work[0].overwrite else "--no-resume"
        raise UsageError(
            f"{flag} cannot be planned: a run that is put back into the queue would start again each time; remove the "
            "old folders, or name others with -o"
        )
    if sweeping.launcher is None:
        for name, value in (("--slurm", sweeping.slurm), ("--devices", sweeping.devices), ("--jobs", jobs)):
            if value is not None:
                raise UsageError(
                    f"{name} is not part of a plan; give it to what trains the plan, with --launcher"
                )
    else:
        sweeping.require_launcher()
    if budget == "gradients":
        plan = plan_runs([job.recipe for job in work], [job.folder for job in work], budget=budget)
        work = [dataclasses.replace(job, recipe=run.recipe) for job, run in zip(work, plan.runs, strict=True)]
    assert sweeping.write_plan is not None
    sweep = write_sweep(sweeping.write_plan, work)
    if sweeping.launcher is not None:
        launched(dataclasses.replace(sweeping, plan=sweeping.write_plan), jobs=jobs, quiet=quiet)
        return
    lines = _written(sweeping.write_plan, len(sweep), work)
    click.echo(lines[0] if quiet else "\n".join(lines))


def _written(path: Path, count: int, work: "Sequence[Job]") -> list[str]:
    """What was written, in the first line, and how to go on."""
    plan = f"landscape train --plan {shlex.quote(str(path))}"
    folders = list(dict.fromkeys(str(job.folder.parent if count > 1 else job.folder) for job in work))
    slurm = "--slurm partition=NAME,time=4:00:00"
    return [
        f"{path}: {count} runs into {', '.join(folders)}; nothing is trained yet",
        "One run, on any node that sees this folder (again after an interruption):",
        f"  {plan} --index 0",
        "All of them here, or as an array of Slurm with submitit or without:",
        f"  {plan} --launcher local",
        f"  {plan} --launcher slurm {slurm}",
        f"  {plan} --launcher sbatch {slurm} | sbatch",
    ]


@contextlib.contextmanager
def one_run(sweeping: Sweeping, *, device: str | None) -> "Iterator[Job]":
    """The job of ``--plan`` and ``--index``, in the folder from which its paths count.

    Args:
        sweeping: The flags.
        device: The device that the user has named, in place of that of the plan.
    """
    from landscape.training import read_sweep
    from landscape.training.sweep import index_here

    assert sweeping.plan is not None
    assert sweeping.index is not None
    sweep, index = read_sweep(sweeping.plan), index_here(sweeping.index)
    with sweep.here():
        job = sweep.job(index)
        name = options.chosen_device(device or job.recipe.device, job.recipe.dtype)
        yield dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, device=name))


def launched(sweeping: Sweeping, *, jobs: int | None, quiet: bool) -> None:
    """Trains the whole plan, or has Slurm do it."""
    from landscape.training import read_sweep

    assert sweeping.plan is not None
    sweep = read_sweep(sweeping.plan)
    with sweep.here():
        work = [sweep.job(index) for index in range(len(sweep))]
        if sweeping.launcher == "local":
            _train_here(sweep, work, sweeping, jobs=jobs, quiet=quiet)
            return
        todo = [index for index in range(len(sweep)) if sweep.state(index) != "finished"]
    if not todo:
        click.echo(f"All {len(sweep)} runs of {sweeping.plan} are finished.", err=True)
        return
    _submitted(sweep, todo, sweeping, jobs=jobs, quiet=quiet)


def _submitted(
    sweep: "Sweep", todo: Sequence[int], sweeping: Sweeping, *, jobs: int | None, quiet: bool
) -> None:
    from landscape.training.batch_script import batch_script, slurm_options
    from landscape.training.submission import has_submitit, submit_array

    flags, logs = slurm_options(sweeping.slurm), _logs(sweep)
    if sweeping.launcher == "sbatch" or not has_submitit():
        logs.mkdir(parents=True, exist_ok=True)  # where it is missing, Slurm ends the job without a word
        click.echo(batch_script(sweep.path, todo, flags, logs=logs, at_a_time=jobs), nl=False)
        if sweeping.launcher == "sbatch":
            return
        raise UsageError(
            f"--launcher slurm needs submitit: {install('slurm')}; without it, the text above does "
            "the same: --launcher sbatch … | sbatch"
        )
    numbers = submit_array(sweep.path, todo, flags, logs=logs, at_a_time=jobs)
    array = numbers[0].partition("_")[0]
    click.echo(f"Submitted {len(todo)} of {len(sweep)} runs as job {array}; logs: {logs}")
    if not quiet:
        collect = shlex.quote(str(_around(sweep, todo[0])))
        click.echo(f"Watch: squeue -j {array}    Collect: landscape compare {collect}", err=True)


def _train_here(
    sweep: "Sweep", work: "Sequence[Job]", sweeping: Sweeping, *, jobs: int | None, quiet: bool
) -> None:
    import torch

    from landscape.training import Outcome
    from landscape.training.local_sweep import LocalSweep
    from landscape.training.plan import cores
    from landscape.training.several import Failure
    from landscape.training.submission import LocalJobs, has_submitit

    devices = sweeping.chosen_devices(work[0].recipe.dtype)
    on_cpu = not devices and options.chosen_device(work[0].recipe.device, work[0].recipe.dtype) == "cpu"
    most = jobs or len(devices) or (cores() if on_cpu else 1)
    if not has_submitit():
        runs = train_plan(work, budget="epochs", jobs=most, dry_run=False, quiet=quiet, devices=devices)
        click.echo(summary(runs))
        return
    slots = [devices[place % len(devices)] if devices else None for place in range(min(most, len(work)))]
    threads = max(1, torch.get_num_threads() // len(slots))
    local = LocalSweep(sweep, LocalJobs(sweep.path, logs=_logs(sweep), threads=threads).start, slots)
    with Bar(f"{len(sweep)} runs", quiet=quiet, counted=True) as bar:
        epochs = {index: sweep.epochs(index) for index in range(len(sweep))}
        shown: set[int] = set()
        local.run(lambda: _tell(bar, local, epochs, shown))
    failures = tuple(Failure(work[index].folder, reason) for index, reason in sorted(local.failures.items()))
    outcome = Outcome(
        tuple(_finished(job) for k, job in enumerate(work) if k not in local.failures), failures
    )
    if failures:
        report(outcome)
    click.echo(summary(outcome.runs))
    if not quiet:
        click.echo(f"Next: landscape compare {shlex.quote(str(_around(sweep, 0)))}", err=True)


def _tell(bar: Bar, local: "LocalSweep", epochs: dict[int, tuple[int, int]], shown: set[int]) -> None:
    """Shows the runs at work; ``epochs`` and ``shown`` are what was known the last time."""
    sweep, now = local.sweep, set(local.at_work)
    for index in sorted(shown | now):  # the only ones that can have changed, of perhaps thousands
        epochs[index] = done, total = sweep.epochs(index)
        name = sweep.folder(index).path.name
        if index in now:
            bar.tell(f"epoch {done}/{total}", done / total, part=name)
        else:
            bar.end(name)
    shown.clear()
    shown.update(now)
    ended = sum(done >= total for done, total in epochs.values()) + len(local.failures)
    share = sum(done for done, _ in epochs.values()) / sum(total for _, total in epochs.values())
    bar.tell(f"{ended} of {len(sweep)} done", share)


def _finished(job: "Job") -> "Run":
    from landscape.records import history
    from landscape.training.run import RunFiles

    files = RunFiles(job.folder)
    return files.finished(job.recipe.shortened(), history.read(files.history)[-1])


def _logs(sweep: "Sweep") -> Path:
    return sweep.path.with_name(f"{sweep.path.stem}.logs")


def _around(sweep: "Sweep", index: int) -> Path:
    """The folder of all runs, as it was typed where that is still the right name here."""
    folder = sweep.folder(index).path
    folder = folder.parent if len(sweep) > 1 else folder
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
