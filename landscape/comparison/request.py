"""The columns of a table as they are requested: measures on a split, and quantities that belong to none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from landscape.comparison.alike import belongs_to
from landscape.comparison.predictors import TARGETS
from landscape.comparison.runs import OF_HISTORY, without_split
from landscape.errors import UsageError
from landscape.records.estimate import Cost, Estimate
from landscape.registry.names import SPLITS, split, split_of

DERIVED = {name: target for name, target in TARGETS.items() if len(target.splits) == 2}
"""Columns that are the difference of one measure on two splits, by name."""

SHARPNESS = (
    *("surrogate-gap", "dominant-eigenvalue", "hessian-trace"),
    *("normalized-trace", "approximation-ratio", "gradient-norm"),
)
DEFAULT = ("test:accuracy", "generalization-gap", *(f"train:{name}" for name in SHARPNESS))
"""The columns if none are requested: what papers print on sharpness-aware training."""


@dataclass(frozen=True)
class Column:
    """A measure with options, as text, and its split; ``None`` for what is of the training or of both splits."""

    name: str
    split: str | None

    @property
    def measure(self) -> str:
        """The name without options."""
        return split(self.name).name


def columns(texts: Iterable[str], default: Sequence[str]) -> tuple[Column, ...]:
    """The columns of ``"test:accuracy"``, ``"hessian-trace"``, …, each once.

    Args:
        texts: Measures with options, and with a split in front where it differs from the default.
        default: The splits of a measure without one.

    Raises:
        UsageError: A quantity that belongs to no split has one in front.
    """
    requested = []
    for text in texts:
        part, name = split_of(text)
        measure = split(name).name
        if measure in (*OF_HISTORY, *DERIVED):
            if part is not None:
                raise UsageError(f"'{text}': {measure} does not belong to one split; leave out the '{part}:'")
            requested.append(Column(name, None))
        else:
            requested += [Column(name, each) for each in ([part] if part else default)]
    return tuple(dict.fromkeys(requested))


def measured(requested: Iterable[Column]) -> dict[str, tuple[str, ...]]:
    """By split, the measures that some columns need, those of derived ones included."""
    names: dict[str, dict[str, None]] = {part: {} for part in SPLITS}
    for column in requested:
        if column.split is not None:
            names.setdefault(column.split, {})[column.name] = None
        elif column.measure in DERIVED:
            target = DERIVED[column.measure]
            for part in target.splits:
                # A column of the same measure with options serves as well.
                if not any(split(name).name == target.measure for name in names[part]):
                    names[part][target.measure] = None
    return {part: tuple(each) for part, each in names.items() if each}


def derived(name: str, records: Iterable[Estimate]) -> list[Estimate]:
    """A difference of :data:`DERIVED` for every run that has both of its parts."""
    target = DERIVED[name]
    parts: dict[str, dict[str | None, Estimate]] = {}
    for record in records:
        if record.measure == target.measure:
            parts.setdefault(belongs_to(record), {})[record.provenance.split] = record
    return [
        replace(
            parts_of_run[target.splits[0]],
            measure=name,
            value=parts_of_run[target.splits[0]].value - parts_of_run[target.splits[1]].value,
            details={},
            cost=Cost(),
            provenance=without_split(parts_of_run[target.splits[0]]).provenance,
        )
        for parts_of_run in parts.values()
        if all(part in parts_of_run for part in target.splits)
    ]


def of_columns(records: Sequence[Estimate], requested: Sequence[Column]) -> list[Estimate]:
    """The records of the requested columns, in their order; those that only others were derived from are left out."""
    position: Mapping[tuple[str, str | None], int] = {
        (column.measure, column.split): place for place, column in reversed(list(enumerate(requested)))
    }
    keys = [(record.measure, record.provenance.split) for record in records]
    kept = [(position[key], record) for key, record in zip(keys, records, strict=True) if key in position]
    return [record for _, record in sorted(kept, key=lambda pair: pair[0])]
