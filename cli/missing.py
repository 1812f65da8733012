"""Measures the missing numbers of a comparison, for every run on the same examples and with the same probes.

A number is read from the records of its checkpoint if everything that it depends on is unchanged, as in
``landscape measure``, and otherwise measured and appended to them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape import records
from landscape.errors import InputError, device_failure
from landscape.records import find
from landscape.records.estimate import Estimate
from landscape.registry.names import Specification
from landscape.tables import WIDTH, Grid
from landscape.tables.escaping import visible

from . import options
from .measure_plan import between
from .progress import Bar, brief

if TYPE_CHECKING:
    from landscape.checkpoints import Checkpoint
    from landscape.comparison.runs import MeasuredRun
    from landscape.comparison.selection import Conditions, Missing
    from landscape.objective import Objective


@dataclass
class Results:
    """The numbers of some runs, how many of them were read from records, and why runs are left out."""

    estimates: list[Estimate] = field(default_factory=list)
    read: int = 0
    measured: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Measuring:
    """How the numbers of runs are computed.

    Attributes:
        source: The flags that say what checkpoints belong to.
        device: Where to compute.
        batch_size: The batch size if none is recorded, and the micro-batch.
        strict: Whether a checkpoint that cannot be used is an error instead of being left out.
        quiet: Whether to show no progress.
    """

    source: options.Source
    device: str
    batch_size: options.BatchSize
    strict: bool
    quiet: bool

    def results(self, missing: "Sequence[Missing]", extras: Mapping[str, Sequence[Specification]]) -> Results:
        """The missing numbers, read from records that are still valid, or measured and recorded.

        Args:
            missing: What is needed.
            extras: By split, what is added if it can be read from the records of every run that is opened.
        """
        from landscape.measures import measured_or_recalled

        results, keep = Results(), _Keeping()
        notes: dict[str, None] = {}
        optional: list[Estimate] = []
        by_run = _by_run(missing)
        done = 0
        with Bar("measuring", quiet=self.quiet) as bar:
            for gaps in by_run:
                run = gaps[0].run
                known = _known(run)
                try:
                    for objective, of_split in self._objectives(gaps, notes):
                        for gap in of_split:
                            bar.tell(f"{run.name}: {gap.measure.name}", done / len(missing))
                            new: list[Estimate] = []
                            answer = measured_or_recalled(objective, gap.measure, known, keep=new.append)
                            keep(run.file, new)
                            done += 1
                            results.measured += len(new)
                            results.read += 1 - len(new)
                            results.estimates.append(answer.estimate)
                        part = str(objective.provenance.split)
                        optional += _recalled(objective, extras.get(part, ()), known)
                except InputError as failure:
                    if self.strict or device_failure(failure):
                        raise
                    results.failures.append(f"{run.name} is left out: {failure}")
        complete = _of_all(optional, len(by_run) - len(results.failures))
        results.estimates += complete
        results.read += len(complete)
        for note in notes if not self.quiet else ():
            click.echo(f"Note: {visible(note)}", err=True)
        return results

    def plan(self, missing: "Sequence[Missing]", recorded: int) -> str:
        """What would be measured, of how many runs, and the expected time; measures and writes nothing."""
        from landscape.measures import MEASURES
        from landscape.measures.forecast import forecast

        def is_absent(gap: "Missing", objective: "Objective", known: Sequence[Estimate]) -> bool:
            settings = MEASURES.settings(gap.measure)
            # Without the loss, which costs a pass over the data.
            origin = objective.provenance
            return find(known, measure=gap.measure.name, settings=settings, provenance=origin) is None

        counts: Counter[tuple[str, str]] = Counter()
        seconds: dict[tuple[str, str], tuple[float, ...]] = {}
        for gaps in _by_run(missing):
            run, known = gaps[0].run, _known(gaps[0].run)
            try:
                opened = self._objectives(gaps, {}, check=False)
            except InputError as failure:
                if self.strict:
                    raise
                click.echo(f"Note: {visible(run.name)} is left out: {visible(failure)}", err=True)
                continue
            for objective, of_split in opened:
                part = str(objective.provenance.split)
                absent = [gap.measure for gap in of_split if is_absent(gap, objective, known)]
                counts.update((part, str(each)) for each in absent)
                if any((part, str(each)) not in seconds for each in absent):
                    costs = forecast(objective, absent)
                    for line in costs.lines:
                        spent = (line.few, line.many, line.most)
                        seconds[part, line.name] = tuple(costs.seconds * each for each in spent)
        return _plan(counts, seconds, len(missing) + recorded)

    def _objectives(
        self, gaps: "Sequence[Missing]", notes: dict[str, None], *, check: bool = True
    ) -> "list[tuple[Objective, list[Missing]]]":
        """The objective of each split of a run with its missing measures; all are opened before any is measured."""
        run = gaps[0].run
        checkpoint = self.source.open(str(run.checkpoint))
        if checkpoint.contents.sha256 != (run.digest or "").partition(":")[0]:
            raise InputError(
                f"{run.checkpoint} was written to after its records were read; run the command again"
            )
        by_split = defaultdict(list)
        for gap in gaps:
            by_split[gap.conditions].append(gap)
        opened = []
        for conditions, of_split in by_split.items():
            objective = self._objective(checkpoint, conditions)
            notes.update(dict.fromkeys((*checkpoint.notes, *objective.notes)))
            # Computed before any measure, so that records know it and are compared by it.
            if check and not math.isfinite(objective.loss):
                raise InputError(
                    f"the loss on {conditions.split} is {objective.loss}; nothing can be measured there"
                )
            opened.append((objective, of_split))
        return opened

    def _objective(self, checkpoint: "Checkpoint", conditions: "Conditions") -> "Objective":
        import torch

        return checkpoint.objective(
            conditions.split or "train",
            limit=conditions.limit,
            batch_size=conditions.batch_size or self.batch_size[0],
            micro_batch=self.batch_size[1],
            batch_norm=conditions.batch_norm or "stored",  # type: ignore[arg-type]
            device=options.chosen_device(self.device),
            dtype=getattr(torch, conditions.dtype) if conditions.dtype else None,
            parameters=None if conditions.parameters is None else conditions.parameters.split(","),
        )


class _Keeping:
    """Appends estimates to files; a folder that cannot be written to is reported once."""

    def __init__(self) -> None:
        self._refused: set[Path] = set()

    def __call__(self, file: Path, estimates: Sequence[Estimate]) -> None:
        for estimate in estimates:
            try:
                records.append(file, estimate)
            except (OSError, InputError) as failure:
                if file not in self._refused:
                    reason = getattr(failure, "strerror", None) or failure
                    click.echo(
                        visible(f"Note: {file} cannot be written ({reason}); numbers are not kept"), err=True
                    )
                self._refused.add(file)


def _by_run(missing: "Sequence[Missing]") -> "list[list[Missing]]":
    """What is missing by run; raises an error for an unknown measure, and for a run that cannot be measured."""
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
    return list(by_run.values())


def _known(run: "MeasuredRun") -> Sequence[Estimate]:
    """All records in the file of a run, also those that a later one has replaced on another machine."""
    return records.read(run.file).estimates if run.file.is_file() else ()


def _recalled(
    objective: "Objective", specifications: Sequence[Specification], known: Sequence[Estimate]
) -> list[Estimate]:
    origin = replace(objective.provenance, loss_value=objective.known_loss)
    matches = [
        find(known, measure=each.name, settings=each.options, provenance=origin) for each in specifications
    ]
    return [match for match in matches if match is not None]


def _of_all(estimates: Sequence[Estimate], runs: int) -> list[Estimate]:
    """The estimates of those quantities that all runs have."""
    keys = [(e.measure, str(e.settings), e.provenance.split) for e in estimates]
    counts = Counter(keys)
    return [e for e, key in zip(estimates, keys, strict=True) if counts[key] == runs]


def _plan(
    counts: Mapping[tuple[str, str], int], seconds: Mapping[tuple[str, str], tuple[float, ...]], total: int
) -> str:
    """The plan of ``--dry-run`` as a table."""
    new = sum(counts.values())
    if not new:
        return f"Nothing would be measured: all {total} numbers are on record."
    rows = []
    sums = [0.0, 0.0, 0.0]
    for (part, name), count in counts.items():
        spent = [count * each for each in seconds[part, name]]
        sums = [a + b for a, b in zip(sums, spent, strict=True)]
        few, many, most = map(brief, spent)
        rows.append((f"{part}:{name}", str(count), between(few, many), most))
    few, many, most = map(brief, sums)
    notes = [
        f"{new} of {total} numbers would be measured, in about {between(few, many)}, at most {most}; "
        "the others are on record",
        "from one product on the first batch of the first run that lacks a number; shared work is not deducted",
    ]
    return Grid(("measure", "runs", "time", "at most"), rows, notes).text(width=WIDTH)
