"""Several runs from the command line: the plan, the pool's progress, and what became of them."""

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from landscape.errors import InputError
from landscape.tables import aligned
from landscape.tables.escaping import visible
from landscape.tables.typesetting import WIDTH

from .progress import Bar, duration

if TYPE_CHECKING:
    from landscape.training import Job, Outcome, Plan, Run
    from landscape.training.budget import Budget


def train_plan(
    jobs_asked: "Sequence[Job]", *, budget: "Budget", jobs: int | None, dry_run: bool, quiet: bool
) -> "list[Run]":
    """The finished runs; those of a dry run are none.

    Raises:
        InputError: A run failed; the others are finished then, and printed. Or a run of the plan cannot be begun.
    """
    from landscape.training import plan_runs, train_several

    first = jobs_asked[0]
    plan = plan_runs(
        [job.recipe for job in jobs_asked],
        [job.folder for job in jobs_asked],
        budget=budget,
        jobs=jobs,
        resume=first.resume,
        overwrite=first.overwrite,
    )
    if dry_run:
        click.echo(plan_text(plan))
        refused = [run.obstacle for run in plan.runs if run.obstacle is not None]
        if refused:
            raise InputError(refused[0])
        return []
    if not quiet and any(run.timing for run in plan.runs):
        click.echo(plan_text(plan), err=True)
    todo = [
        dataclasses.replace(job, recipe=run.recipe) for job, run in zip(jobs_asked, plan.runs, strict=True)
    ]
    count = len(todo)
    with Bar(f"{count} runs", quiet=quiet, expected=plan.seconds) as bar:
        outcome = train_several(
            plan, todo, notice=lambda ended, share, name: bar.tell(f"{ended} of {count} done, {name}", share)
        )
    if outcome.failures:
        _report(outcome)
    return list(outcome.runs)


def _report(outcome: "Outcome") -> None:
    """Print what is finished, and fail with what is not."""
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
    """The plan: a line an optimizer, and how long all of it takes."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for run in plan.runs:
        groups.setdefault((run.recipe.optimizer, run.recipe.epochs), []).append(run)
    lines = [["optimizer", "seeds", "epochs", "gradients/step", "ms/step", "time a run"]]
    for (optimizer, epochs), runs in groups.items():
        timing = next((run.timing for run in runs if run.timing), None)
        lines.append(
            [
                optimizer,
                _span([run.recipe.seed for run in runs]),
                str(epochs),
                f"{timing.gradients:.3g}" if timing else "–",
                f"{1e3 * timing.step:.3g}" if timing else "–",
                duration(timing.seconds(epochs)) if timing else "–",
            ]
        )
    begun = sum(run.done > 0 for run in plan.runs)
    finished = sum(run.done >= run.recipe.epochs for run in plan.runs)
    stands = f", {finished} finished, {begun - finished} begun" if begun else ""
    threads = f"{plan.threads} thread{'s' if plan.threads > 1 else ''}"
    equal = "; equal gradients, not epochs" if plan.budget == "gradients" else ""
    told = f"{len(plan.runs)} runs{stands}; {plan.jobs} at a time with {threads}{equal}"
    return f"{aligned(lines)}\n{textwrap.fill(f'{told}: about {duration(plan.seconds)}', WIDTH)}"


def _span(seeds: Sequence[int]) -> str:
    """``0-2`` for 0, 1, 2."""
    whole = list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 and list(seeds) == whole else ",".join(map(str, seeds))


def summary(runs: "Sequence[Run]") -> str:
    """One line a run."""
    lines = [["run", "optimizer", "seed", "train loss", "test accuracy", "gradients"]]
    for run in runs:
        metrics: dict[str, Any] = dict(run.metrics)
        lines.append(
            [
                str(run.path),
                run.recipe.optimizer,
                str(run.recipe.seed),
                f"{metrics['train_loss']:.4g}",
                f"{metrics['test_accuracy']:.2%}",
                str(metrics["gradients"]),
            ]
        )
    return aligned(lines)
