"""Which records of runs are compared, and which of them are still to be taken: the same of every run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from landscape.comparison.alike import COMPARABLE, differing, refuse_unlike, settings_key
from landscape.comparison.runs import OF_HISTORY, MeasuredRun
from landscape.errors import InputError
from landscape.records.estimate import Estimate, Provenance
from landscape.registry.names import Specification, split


@dataclass(frozen=True)
class Conditions:
    """On what numbers are taken; ``None`` where nobody has said.

    Attributes:
        split: ``train`` or ``test``.
        limit: Examples.
        batch_size: Examples a batch.
        batch_norm: Which statistics.
        dtype: ``float32`` or ``float64``.
    """

    split: str | None = None
    limit: int | None = None
    batch_size: int | None = None
    batch_norm: str | None = None
    dtype: str | None = None

    def fit(self, origin: Provenance) -> bool:
        """Whether a record was taken so."""
        batch = None if self.batch_size is None else min(self.batch_size, origin.num_examples)
        asked = (self.split, self.limit, batch, self.batch_norm, self.dtype)
        held = (origin.split, origin.num_examples, origin.batch_size, origin.batch_norm, origin.dtype)
        return all(a is None or a == h for a, h in zip(asked, held, strict=True))

    @classmethod
    def of(cls, origin: Provenance) -> "Conditions":
        """Those under which a record was taken."""
        return cls(origin.split, origin.num_examples, origin.batch_size, origin.batch_norm, origin.dtype)


@dataclass(frozen=True)
class Missing:
    """A number that is to be taken.

    Attributes:
        run: Of which.
        wanted: The measure with options.
    """

    run: MeasuredRun
    wanted: Specification


@dataclass(frozen=True)
class Selection:
    """What is compared.

    Attributes:
        chosen: Records that are there.
        missing: What is not.
        conditions: Under which the rest is to be taken.
        remarks: What was left out, and why.
    """

    chosen: tuple[Estimate, ...]
    missing: tuple[Missing, ...]
    conditions: Conditions
    remarks: tuple[str, ...] = ()


def select(
    runs: Sequence[MeasuredRun],
    names: Sequence[str] | None,
    conditions: Conditions,
    *,
    default: Sequence[str] = (),
    rows: Sequence[str] = (),
) -> Selection:
    """The records of the wanted measures, under the same conditions and settings for every run.

    Where the records do not decide what is not said, they are used as they are if one set of conditions, or of
    settings, is there for all runs.

    Args:
        runs: Finished ones.
        names: Measures with options; by default all that are recorded.
        conditions: What was asked for.
        default: The measures if none is recorded either.
        rows: Fields of the recipe that make the rows; networks of several sizes may be rows.

    Raises:
        InputError: The records differ in their data or settings, and none of these is there for all runs.
    """
    held = [[e for e in run.estimates if conditions.fit(e.provenance)] for run in runs]
    wanted = None if names is None else [split(name) for name in names]
    measured = [s for s in wanted or [] if s.name not in OF_HISTORY]
    if wanted is not None:
        asked = {s.name for s in measured}
        held = [[e for e in taken if e.measure in asked] for taken in held]
    held, remarks = _under_one_condition(held, ("dimension",) if "model" in rows else ())
    if wanted is None:
        recorded = dict.fromkeys(e.measure for taken in held for e in taken)
        measured = [Specification(name) for name in recorded] or [split(name) for name in default]
    chosen: list[Estimate] = []
    missing: list[Missing] = []
    for specification in measured:
        there, absent = _of_measure(runs, held, specification)
        chosen += there
        missing += absent
    known = [e.provenance for taken in held for e in taken]
    resolved = _completed(conditions, known[0] if known else None)
    return Selection(tuple(chosen), tuple(missing), resolved, tuple(remarks))


def _under_one_condition(
    held: list[list[Estimate]], but: Sequence[str]
) -> tuple[list[list[Estimate]], list[str]]:
    fields = [name for name in COMPARABLE if name not in but]
    groups: dict[tuple[object, ...], set[int]] = {}
    for index, taken in enumerate(held):
        for e in taken:
            groups.setdefault(tuple(getattr(e.provenance, name) for name in fields), set()).add(index)
    if len(groups) < 2:
        return held, []
    complete = [key for key, indices in groups.items() if len(indices) == len(held)]
    if len(complete) != 1:
        refuse_unlike((e for taken in held for e in taken), but=but)
    kept = [
        [e for e in taken if tuple(getattr(e.provenance, name) for name in fields) == complete[0]]
        for taken in held
    ]
    lost = sum(map(len, held)) - sum(map(len, kept))
    return kept, [f"{lost} records on other data or in other batches, not there for all runs, are left out"]


def _of_measure(
    runs: Sequence[MeasuredRun], held: Sequence[Sequence[Estimate]], wanted: Specification
) -> tuple[list[Estimate], list[Missing]]:
    """The records of a measure, and what is to be taken so that every run has it in the same settings."""
    by_settings: dict[str, dict[int, Estimate]] = {}
    for index, taken in enumerate(held):
        for e in taken:
            if e.measure == wanted.name and _has(e.settings, wanted.options):
                by_settings.setdefault(settings_key(e), {})[index] = e
    complete = [found for found in by_settings.values() if len(found) == len(runs)]
    if complete:
        return [e for found in complete for e in found.values()], []
    if not by_settings:
        return [], [Missing(run, wanted) for run in runs]
    if len(by_settings) > 1:
        examples = [next(iter(found.values())).settings for found in by_settings.values()]
        name = differing(examples)[0]
        seen = list(dict.fromkeys(str(settings.get(name)) for settings in examples))
        raise InputError(
            f"the records of {wanted.name} differ in {name} ({' and '.join(seen[:2])}), and no setting is there "
            f"for all runs; choose one with --measure {wanted.name}:{name}={seen[0]}"
        )
    [found] = by_settings.values()
    settings = next(iter(found.values())).settings
    same = Specification(wanted.name, dict(settings))  # type: ignore[arg-type]
    return list(found.values()), [Missing(run, same) for k, run in enumerate(runs) if k not in found]


def _has(settings: Mapping[str, object], options: Mapping[str, object]) -> bool:
    """Whether a record was taken with these options, whose values may still be text."""
    return all(_same(settings.get(key.replace("-", "_")), value) for key, value in options.items())


def _same(held: object, asked: object) -> bool:
    if isinstance(held, (int, float)) and not isinstance(held, bool):
        try:
            return float(held) == float(str(asked))
        except ValueError:
            return False
    return str(held).lower() == str(asked).lower()


def _completed(conditions: Conditions, origin: Provenance | None) -> Conditions:
    return conditions if origin is None else Conditions.of(origin)


def splits(runs: Iterable[MeasuredRun]) -> list[str]:
    """The splits that runs were measured on."""
    found = dict.fromkeys(e.provenance.split for run in runs for e in run.estimates)
    return [split for split in found if split is not None]
