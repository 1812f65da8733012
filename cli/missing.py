"""Taking the measures that a comparison lacks, of every run on the same examples and with the same probes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from landscape import records
from landscape.errors import InputError
from landscape.records.estimate import Estimate

from . import options
from .progress import Bar

if TYPE_CHECKING:
    from landscape.comparison.runs import MeasuredRun
    from landscape.comparison.selection import Conditions, Missing


def take_missing(
    missing: "Sequence[Missing]", conditions: "Conditions", *, device: str, trust: bool, quiet: bool
) -> tuple[list[Estimate], list[str]]:
    """The numbers, which are appended to the runs' own records, and what could not be measured.

    Args:
        missing: Which.
        conditions: The examples, batches and precision.
        device: Where.
        trust: Whether code that a checkpoint names may run.
        quiet: No progress.

    Raises:
        InputError: A run cannot be measured since only its records are there.
        UsageError: A measure or an option is unknown.
    """
    from landscape.measures import MEASURES

    by_run: dict[int, list[Missing]] = {}
    for lack in missing:
        MEASURES.parse(lack.measure)
        if lack.run.checkpoint is None:
            raise InputError(
                f"{lack.run.name} has no record of {lack.measure}, and no checkpoint to take it of; measure it where "
                "the run is, or leave it out with --measure"
            )
        by_run.setdefault(id(lack.run), []).append(lack)
    where = options.chosen_device(device)
    taken, failures, done = [], [], 0
    with Bar("measuring what is missing", quiet=quiet) as bar:
        for lacks in by_run.values():
            run = lacks[0].run
            try:
                objective = _objective(run, conditions, device=where, trust=trust)
                for lack in lacks:
                    bar.tell(f"{run.name}: {lack.measure.name}", done / len(missing))
                    found = MEASURES.build(lack.measure, objective)
                    records.append(run.file, found)
                    taken.append(found)
                    done += 1
            except InputError as failure:
                failures.append(f"{run.name} is left out: {failure}")
    if not quiet:
        click.echo(
            f"Measured {len(taken)} numbers of {len(by_run)} runs, now in their measures.jsonl", err=True
        )
    return taken, failures


def _objective(run: "MeasuredRun", conditions: "Conditions", *, device: str, trust: bool):  # type: ignore[no-untyped-def]
    import torch

    from landscape.checkpoints import load_checkpoint

    assert run.checkpoint is not None
    objective = load_checkpoint(run.checkpoint, trust=trust).objective(
        conditions.split or "test",  # type: ignore[arg-type]
        limit=conditions.limit,
        batch_size=conditions.batch_size or 128,
        batch_norm=conditions.batch_norm or "stored",  # type: ignore[arg-type]
        device=device,
        dtype=getattr(torch, conditions.dtype) if conditions.dtype else None,
    )
    if objective.provenance.checkpoint != run.digest:
        raise InputError(
            f"{run.checkpoint} was written to after its records were read; run the command again"
        )
    if not math.isfinite(objective.loss):  # computed before any measure, so that records know it
        raise InputError(f"the loss is {objective.loss}; nothing can be measured there")
    return objective
