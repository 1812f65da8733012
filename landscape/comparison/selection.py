"""Which records of runs are compared, and which still have to be measured: the same for every run."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from landscape.comparison.alike import COMPARABLE, OF_NETWORK, refuse_scattered, refuse_unlike, settings_key
from landscape.comparison.runs import OF_HISTORY, MeasuredRun
from landscape.records.estimate import Estimate, Provenance
from landscape.registry.names import Specification, split


@dataclass(frozen=True)
class Conditions:
    """Conditions of a measurement, by the names of the flags; ``None`` for any.

    ``parameters`` is the selection of free parameters, and ``None`` all of them.
    """

    split: str | None = None
    limit: int | None = None
    batch_size: int | None = None
    batch_norm: str | None = None
    dtype: str | None = None
    parameters: str | None = None

    def fit(self, origin: Provenance) -> bool:
        """Whether a record was measured under these conditions."""
        # A batch size above the number of examples means one batch of all of them, and a limit above it all of them.
        batch = None if self.batch_size is None else min(self.batch_size, origin.num_examples)
        limit = self.limit
        if (
            limit is not None
            and limit > origin.num_examples
            and origin.subset == _of_all(origin.num_examples)
        ):
            limit = origin.num_examples
        required = (self.split, limit, batch, self.batch_norm, self.dtype)
        actual = (origin.split, origin.num_examples, origin.batch_size, origin.batch_norm, origin.dtype)
        agree = all(r is None or r == a for r, a in zip(required, actual, strict=True))
        return agree and self.parameters == origin.parameters

    @classmethod
    def of(cls, origin: Provenance) -> "Conditions":
        """The conditions under which a record was measured."""
        return cls(
            origin.split,
            origin.num_examples,
            origin.batch_size,
            origin.batch_norm,
            origin.dtype,
            origin.parameters,
        )


@functools.cache
def _of_all(size: int) -> str:
    """The hash that records have for the indices of all examples of a data set of this size."""
    return hashlib.sha256(np.arange(size, dtype="<i8").tobytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Missing:
    """A measure with options that a run lacks, and the conditions under which it has to be measured."""

    run: MeasuredRun
    measure: Specification
    conditions: Conditions


@dataclass(frozen=True)
class Selection:
    """The records that are compared, what is missing, and remarks on what is left out."""

    records: tuple[Estimate, ...]
    missing: tuple[Missing, ...]
    remarks: tuple[str, ...] = ()


def select(
    runs: Sequence[MeasuredRun],
    names: Sequence[str] | None,
    conditions: Conditions,
    *,
    rows: Sequence[str] = (),
) -> Selection:
    """The records of some measures, under the same conditions and settings for every run.

    Conditions and options that are not requested are those of the records, if one set of them exists for all runs.

    Args:
        runs: Finished runs.
        names: Measures with options; by default all that are recorded.
        conditions: Requested conditions.
        rows: Recipe fields that define the rows; if ``model`` is one, networks may have several sizes.

    Raises:
        InputError: The records differ in their data or settings, and none of these exists for all runs.
    """
    by_run = [[e for e in run.estimates if conditions.fit(e.provenance)] for run in runs]
    requested = None if names is None else [split(name) for name in names]
    measures = [s for s in requested or [] if s.name not in OF_HISTORY]
    if requested is not None:
        measured = {s.name for s in measures}
        by_run = [[e for e in estimates if e.measure in measured] for estimates in by_run]
    by_run, remarks = _under_one_condition(by_run, OF_NETWORK if "model" in rows else ())
    known = [e for estimates in by_run for e in estimates]
    if requested is None:
        recorded = dict.fromkeys(e.measure for e in known)
        measures = [Specification(name) for name in recorded]
    records: list[Estimate] = []
    missing: list[Missing] = []
    resolved = Conditions.of(known[0].provenance) if known else conditions
    for measure in measures:
        existing, absent = _of_measure(runs, by_run, measure)
        records += existing
        missing += [Missing(run, same, resolved) for run, same in absent]
    return Selection(tuple(records), tuple(missing), tuple(remarks))


def recorded_for_all(runs: Sequence[MeasuredRun], conditions: Conditions) -> list[Specification]:
    """The measures, with all their settings, that every run has a record of under these conditions."""
    of_runs = [
        {
            (e.measure, settings_key(e)): Specification(e.measure, dict(e.settings))  # type: ignore[arg-type]
            for e in run.estimates
            if conditions.fit(e.provenance)
        }
        for run in runs
    ]
    first = of_runs[0] if of_runs else {}
    return [first[key] for key in first if all(key in each for each in of_runs)]


def _under_one_condition(
    by_run: list[list[Estimate]], but: Sequence[str]
) -> tuple[list[list[Estimate]], list[str]]:
    """The records under the one set of conditions that exists for all runs, and a remark on the others."""

    def condition(estimate: Estimate) -> tuple[object, ...]:
        return tuple(getattr(estimate.provenance, name) for name in COMPARABLE if name not in but)

    runs_of: dict[tuple[object, ...], set[int]] = {}
    for index, estimates in enumerate(by_run):
        for e in estimates:
            runs_of.setdefault(condition(e), set()).add(index)
    if len(runs_of) < 2:
        return by_run, []
    complete = [key for key, indices in runs_of.items() if len(indices) == len(by_run)]
    # With several complete sets, the choice is the user's.
    if len(complete) != 1:
        refuse_unlike((e for estimates in by_run for e in estimates), but=but)
    kept = [[e for e in estimates if condition(e) == complete[0]] for estimates in by_run]
    lost = sum(map(len, by_run)) - sum(map(len, kept))
    return kept, [f"{lost} records on other data or in other batches, not there for all runs, are left out"]


def _of_measure(
    runs: Sequence[MeasuredRun], by_run: Sequence[Sequence[Estimate]], measure: Specification
) -> tuple[list[Estimate], list[tuple[MeasuredRun, Specification]]]:
    """The records of a measure, and which runs lack it, with the settings that the others have."""
    by_settings: dict[str, dict[int, Estimate]] = {}
    for index, estimates in enumerate(by_run):
        for e in estimates:
            if e.measure == measure.name and _has(e.settings, measure.options):
                by_settings.setdefault(settings_key(e), {})[index] = e
    complete = [existing for existing in by_settings.values() if len(existing) == len(runs)]
    if complete:
        return [e for existing in complete for e in existing.values()], []
    if not by_settings:
        return [], [(run, measure) for run in runs]
    if len(by_settings) > 1:
        refuse_scattered(measure.name, [next(iter(e.values())).settings for e in by_settings.values()])
    [existing] = by_settings.values()
    settings = next(iter(existing.values())).settings
    same = Specification(measure.name, dict(settings))  # type: ignore[arg-type]
    return list(existing.values()), [(run, same) for k, run in enumerate(runs) if k not in existing]


def _has(settings: Mapping[str, object], options: Mapping[str, object]) -> bool:
    """Whether a record has these options, whose values may still be text."""
    return all(_same(settings.get(key.replace("-", "_")), value) for key, value in options.items())


def _same(recorded: object, requested: object) -> bool:
    # "0.20" on the command line is the recorded 0.2.
    if isinstance(recorded, (int, float)) and not isinstance(recorded, bool):
        try:
            return float(recorded) == float(str(requested))
        except ValueError:
            return False
    return str(recorded).lower() == str(requested).lower()
