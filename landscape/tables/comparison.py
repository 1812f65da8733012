"""Which records may be set side by side, and which of them are repetitions of one another.

Numbers are averaged only when they may be: the same measure with the same settings, on the same data, in the
same batches, over runs that differ in nothing but their seed. Where a field differs, the error names it.
"""

import math
from collections.abc import Iterable, Sequence

from landscape.errors import InputError
from landscape.estimate import Estimate
from landscape.tables.table import Cell, Table

COMPARABLE = (
    "data",
    "split",
    "subset",
    "num_examples",
    "batch_size",
    "batch_norm",
    "dtype",
    "dimension",
    "loss",
)
"""Fields of the provenance that must agree before numbers are set side by side."""
REPEATED = ("seed", "device")
"""Fields of the recipe in which the runs of one row may differ."""


def compare(records: Iterable[Estimate], rows: str = "optimizer") -> Table:
    """The table of many runs' records.

    Args:
        records: Estimates of trained checkpoints; of several records of one quantity the last one counts.
        rows: The recipe field that makes the rows.

    Raises:
        InputError: No records, a record without that recipe field, or records that may not be set side by side
            or averaged: their data differ, or the runs of one row differ in more than the seed. The field is
            named.
    """
    last: dict[tuple[object, ...], Estimate] = {}
    for record in records:
        origin = record.provenance
        last[record.measure, _settings(record), origin.split, origin.checkpoint] = record
    kept = list(last.values())
    if not kept:
        raise InputError("there is nothing to compare: no record was found; run `landscape measure` first")
    # Networks of several sizes are the point of a table whose rows are the models.
    refuse_unlike(kept, but=("dimension",) if rows == "model" else ())
    labels = setting_labels(kept)
    grouped: dict[tuple[str, str], list[Estimate]] = {}
    for record, label in zip(kept, labels, strict=True):
        recipe = record.provenance.recipe
        if recipe is None or rows not in recipe:
            fields = ", ".join(recipe) if recipe else "none: the checkpoint was not trained here"
            raise InputError(f"a record of {record.measure} has no recipe field '{rows}' (fields: {fields})")
        grouped.setdefault((str(recipe[rows]), label), []).append(record)
    for (row, _), found in grouped.items():
        _refuse_other_runs(row, found)
    return Table(
        rows=tuple(dict.fromkeys(row for row, _ in grouped)),
        columns=tuple(dict.fromkeys(labels)),
        cells={place: _cell(found) for place, found in grouped.items()},
        heading=rows,
    )


def refuse_unlike(records: Sequence[Estimate], *, but: Sequence[str] = ()) -> None:
    """Raises :class:`InputError`, naming the field, if records may not be set side by side.

    Args:
        records: Of any runs.
        but: Fields of :data:`COMPARABLE` that may differ.
    """
    for name in COMPARABLE:
        seen = dict.fromkeys(getattr(record.provenance, name) for record in records)
        if len(seen) > 1 and name not in but:
            shown = " and ".join(str(value) for value in list(seen)[:2])
            raise InputError(
                f"the records differ in {name} ({shown}), so their numbers cannot be compared; "
                f"measure every run with the same {name}, or choose records with --split or --measure"
            )


def _refuse_other_runs(row: str, records: Sequence[Estimate]) -> None:
    """Within a row, only seeds may differ: anything else is not a repetition, and its mean says nothing."""
    recipes = [dict(record.provenance.recipe or {}) for record in records]
    for name in dict.fromkeys(key for recipe in recipes for key in recipe):
        seen = list(dict.fromkeys(str(recipe.get(name)) for recipe in recipes))
        if len(seen) > 1 and name not in REPEATED:
            raise InputError(
                f"the runs of row '{row}' differ in {name} ({' and '.join(seen[:2])}), not only in their seed; "
                f"make rows of it with --rows {name}, or compare them one by one"
            )
    seeds = [recipe.get("seed") for recipe in recipes]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise InputError(
            f"row '{row}' has {seeds.count(twice)} checkpoints of the run with seed {twice}: they are no "
            "repetitions; give the records of one checkpoint a run"
        )


def _cell(records: Sequence[Estimate]) -> Cell:
    errors = [r.standard_error for r in records if r.standard_error is not None]
    return Cell(
        values=tuple(r.value for r in records),
        monte_carlo=math.hypot(*errors) / len(records) if errors else None,
        converged=all(r.converged is not False for r in records),
    )


def _settings(record: Estimate) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(record.settings.items()))


def setting_labels(records: Sequence[Estimate]) -> list[str]:
    """What to call the quantity of each record: its measure, with the settings that tell it from its like."""
    like: dict[str, list[Estimate]] = {}
    for record in records:
        like.setdefault(record.measure, []).append(record)
    return [_label(record, like[record.measure]) for record in records]


def _label(record: Estimate, like: Sequence[Estimate]) -> str:
    telling = [
        f"{key}={value}"
        for key, value in record.settings.items()
        if any(other.settings.get(key) != value for other in like)
    ]
    return f"{record.measure}:{','.join(telling)}" if telling else record.measure
