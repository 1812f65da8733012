"""Measures what a comparison lacks, for every run on the same examples and with the same probes."""

import math
from collections import defaultdict
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
    from landscape.objective import Objective


def take_missing(
    missing: "Sequence[Missing]", conditions: "Conditions", *, device: str, trust: bool, quiet: bool
) -> tuple[list[Estimate], list[str]]:
    """Measures what runs lack and appends it to their records; returns the estimates, and why runs are left out."""
    from landscape.measures import MEASURES

    by_run = defaultdict(list)
    for gap in missing:
        MEASURES.parse(gap.measure)  # an unknown option is refused before hours of measuring
        if gap.run.checkpoint is None:
            raise InputError(
                f"{gap.run.name} has no record of {gap.measure}, and no checkpoint to measure it at; measure it where "
                "the run is, or leave it out with --measure"
            )
        by_run[id(gap.run)].append(gap)
    device = options.chosen_device(device)
    estimates: list[Estimate] = []
    failures = []
    with Bar("measuring what is missing", quiet=quiet, counted=True) as bar:
        for gaps in by_run.values():
            run = gaps[0].run
            try:
                objective = _objective(run, conditions, device=device, trust=trust)
                for gap in gaps:
                    bar.tell(f"{run.name}: {gap.measure.name}", len(estimates) / len(missing))
                    estimates.append(MEASURES.build(gap.measure, objective))
                    records.append(run.file, estimates[-1])
            except InputError as failure:
                failures.append(f"{run.name} is left out: {failure}")
    if not quiet:
        count = f"{len(estimates)} numbers of {len(by_run)} runs"
        click.echo(f"Measured {count}, now in their measures.jsonl", err=True)
    return estimates, failures


def _objective(run: "MeasuredRun", conditions: "Conditions", *, device: str, trust: bool) -> "Objective":
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
