"""Several runs from the command line: the plan, the progress of all of them, and their results."""

import dataclasses
import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape.errors import InputError
from landscape.tables import WIDTH, Grid
from landscape.tables.escaping import visible
from landscape.training.recipe import Budget

from .progress import Bar, duration, run_progress
from .terminal import note

if TYPE_CHECKING:
    from landscape.training import Job, Outcome, Plan, Progress, Run

_MOST_NAMED = 6


def train_plan(
    work: "Sequence[Job]",
    *,
    budget: Budget,
    jobs: int | None,
    dry_run: bool,
    quiet: bool,
    devices: Sequence[str] = (),
) -> "list[Run]":
    """The finished runs; after a dry run, none.

    With ``devices``, each of the runs at a time has one of its own.

    Raises:
        InputError: A run cannot be started, or it failed; then the others are finished and printed.
    """
    from landscape.training import plan_runs, train_several

    note("measuring the time of a step of each optimizer…")
    plan = plan_runs(
        [job.recipe for job in work],
        [job.folder for job in work],
        budget=budget,
        jobs=jobs,
        resume=work[0].resume,
        overwrite=work[0].overwrite,
    )
    if dry_run:
        click.echo(plan_text(plan))
        for run in plan.runs:
            if run.obstacle is not None:
                raise InputError(run.obstacle)
        return []
    if not quiet and any(run.timing for run in plan.runs):
        click.echo(plan_text(plan), err=True)
    todo = [dataclasses.replace(job, recipe=run.recipe) for job, run in zip(work, plan.runs, strict=True)]
    with Bar(f"{len(todo)} runs", quiet=quiet, expected=plan.seconds, counted=True) as bar:
        trained = set()

        def on_run(folder: Path, progress: "Progress | None") -> None:
            if progress is None:
                bar.end(folder.name)
            else:
                trained.add(folder)
                bar.tell(*run_progress(progress), part=folder.name)

        outcome = train_several(
            plan,
            todo,
            devices=devices,
            notice=lambda ended, share, _: bar.tell(f"{ended} of {len(todo)} done", share),
            on_run=on_run,
        )
    if not quiet:
        say_finished([run.path for run in outcome.runs if run.path not in trained])
    if outcome.failures:
        report(outcome)
    return list(outcome.runs)


def say_finished(folders: Sequence[Path]) -> None:
    """Says which runs were read from disk and not trained."""
    if folders:
        names = ", ".join(click.format_filename(folder) for folder in folders[:_MOST_NAMED])
        names += f" and {len(folders) - _MOST_NAMED} more" if len(folders) > _MOST_NAMED else ""
        click.echo(f"Finished before and not trained again: {names} (--overwrite trains anew)", err=True)


def report(outcome: "Outcome") -> None:
    """Prints the runs that are finished, and which are not; raises :class:`InputError` with their number."""
    if outcome.runs:
        click.echo(summary(outcome.runs))
    for failure in outcome.failures:
        click.echo(f"{failure.folder} failed: {visible(failure.reason)}", err=True)
    total = len(outcome.runs) + len(outcome.failures)
    raise InputError(
        f"{len(outcome.failures)} of {total} runs failed; the others are finished, and the same command tries "
        "again only what is not"
    )


def plan_text(plan: "Plan") -> str:
    """The plan as a table with a line per optimizer, and an estimate of the total time."""
    head = ["optimizer", "seeds", "epochs", "gradients/step", "ms/step", "time a run"]
    rows = []
    for (optimizer, epochs), group in itertools.groupby(
        plan.runs, key=lambda run: (run.recipe.optimizer, run.recipe.epochs)
    ):
        runs = list(group)
        timing = next((run.timing for run in runs if run.timing), None)
        costs = ["–"] * 3
        if timing is not None:
            costs = [f"{timing.gradients:.3g}", f"{1e3 * timing.step:.3g}", duration(timing.seconds(epochs))]
        rows.append([optimizer, _span([run.recipe.seed for run in runs]), str(epochs), *costs])
    begun = sum(run.done > 0 for run in plan.runs)
    finished = sum(run.done >= run.recipe.epochs for run in plan.runs)
    on_disk = f", {finished} finished, {begun - finished} begun" if begun else ""
    threads = f"{plan.threads} thread{'s' if plan.threads > 1 else ''}"
    equal = "; equal gradients, not epochs" if plan.budget == "gradients" else ""
    total = (
        f"{len(plan.runs)} runs{on_disk}; {plan.jobs} at a time with {threads}{equal}: "
        f"about {duration(plan.seconds)}"
    )
    return "\n".join([Grid(head, rows).text(), textwrap.fill(total, WIDTH), *notes_text(plan.notes)])


def notes_text(notes: Sequence[str]) -> list[str]:
    """What was assumed about the data, indented, within the width of a terminal."""
    return [textwrap.fill(visible(n), WIDTH, initial_indent="  ", subsequent_indent="    ") for n in notes]


def _span(seeds: Sequence[int]) -> str:
    """``0-2`` for 0, 1, 2."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))


def summary(runs: "Sequence[Run]") -> str:
    """One line per run."""
    rows = []
    for run in runs:
        loss, share = f"{run.metrics['train_loss']:.4g}", run.metrics.get("test_accuracy")
        accuracy = "–" if share is None else f"{share:.2%}"
        gradients = str(run.metrics["gradients"])
        rows.append([str(run.path), run.recipe.optimizer, str(run.recipe.seed), loss, accuracy, gradients])
    return Grid(["run", "optimizer", "seed", "train loss", "test accuracy", "gradients"], rows).text()
