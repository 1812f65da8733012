"""Records to a table: numbers are averaged only when they may be.

That is: the same measure with the same settings, on the same data, in the same batches, over runs that differ in
nothing but their seed. Where a field differs, the error names it.
"""

from collections.abc import Iterable, Mapping, Sequence

from landscape.comparison.alike import (
    REPEATED,
    belongs_to,
    differing,
    other_examples,
    refuse_other_runs,
    refuse_unlike,
    setting_labels,
    settings_key,
)
from landscape.comparison.appearance import Look
from landscape.comparison.cell import Cell
from landscape.comparison.intervals import Method
from landscape.comparison.table import Table
from landscape.errors import InputError
from landscape.records.estimate import Estimate


def compare(
    records: Iterable[Estimate],
    rows: str | Sequence[str] = "optimizer",
    *,
    baseline: str | None = None,
    method: Method = "t",
    looks: Mapping[str, Look] | None = None,
    remarks: Sequence[str] = (),
) -> Table:
    """The table of many runs' records.

    Args:
        records: Estimates of trained checkpoints; of several records of one quantity the last one counts.
        rows: The recipe field that makes the rows, or several.
        baseline: The row that the others are compared with; by default the first, which is a plain optimizer if
            there is one.
        method: How intervals are made: ``t`` or ``bootstrap``.
        looks: How columns are shown, where not as usual.
        remarks: What the reader has to know beside the numbers.

    Raises:
        InputError: No records, a record without that recipe field, or records that may not be set side by side
            or averaged: their data or settings differ, or the runs of one row differ in more than the seed. The
            field is named.
    """
    fields = [rows] if isinstance(rows, str) else list(rows)
    kept = _latest(records)
    if not kept:
        raise InputError("there is nothing to compare: no record was found; run `landscape measure` first")
    # Networks of several sizes are the point of a table whose rows are the models.
    refuse_unlike(kept, but=("dimension",) if "model" in fields else ())
    names = [_row(record, fields) for record in kept]
    known = list(dict.fromkeys(names))
    if baseline is not None and baseline not in known:
        raise InputError(f"no row is called '{baseline}'; there are: {', '.join(known)}")
    for row in known:
        mine = [record for record, name in zip(kept, names, strict=True) if name == row]
        refuse_other_runs(row, _one_a_run(mine), fields)
    _refuse_scattered_settings(kept)
    labels = setting_labels(kept)
    grouped: dict[tuple[str, str], list[Estimate]] = {}
    for record, name, label in zip(kept, names, labels, strict=True):
        grouped.setdefault((name, label), []).append(record)
    return Table(
        rows=tuple(_base_first(known, kept, names)),
        columns=tuple(dict.fromkeys(labels)),
        cells={place: _cell(found) for place, found in grouped.items()},
        heading=", ".join(fields),
        measured_on=_measured_on(kept[0]),
        baseline=baseline,
        method=method,
        looks=dict(looks or {}),
        remarks=(*remarks, *_confounded(kept, names, fields), *other_examples(kept)),
    )


def _latest(records: Iterable[Estimate]) -> list[Estimate]:
    last: dict[tuple[object, ...], Estimate] = {}
    for record in records:
        origin = record.provenance
        last[record.measure, settings_key(record), origin.split, belongs_to(record)] = record
    return list(last.values())


def _one_a_run(records: Sequence[Estimate]) -> list[Estimate]:
    return list({belongs_to(record): record for record in records}.values())


def _row(record: Estimate, fields: Sequence[str]) -> str:
    recipe = record.provenance.recipe
    for name in fields:
        if recipe is None or name not in recipe:
            known = ", ".join(recipe) if recipe else "none: the checkpoint was not trained here"
            raise InputError(f"a record of {record.measure} has no recipe field '{name}' (fields: {known})")
    assert recipe is not None
    first, *others = fields
    return " ".join([str(recipe[first]), *(f"{name}={recipe[name]}" for name in others)])


def _base_first(rows: Sequence[str], records: Sequence[Estimate], names: Sequence[str]) -> list[str]:
    """The rows with a plain optimizer before the others, which are compared with it."""
    plain = set()
    for record, name in zip(records, names, strict=True):
        recipe = record.provenance.recipe or {}
        if recipe.get("optimizer") == recipe.get("base"):
            plain.add(name)
    return sorted(rows, key=lambda row: row not in plain)


def _refuse_scattered_settings(records: Sequence[Estimate]) -> None:
    """Of a measure with several settings, one at least must be there for every run."""
    runs = {belongs_to(record) for record in records}
    for measure in dict.fromkeys(record.measure for record in records):
        held: dict[str, list[Estimate]] = {}
        for record in records:
            if record.measure == measure:
                held.setdefault(settings_key(record), []).append(record)
        if len(held) < 2 or any({belongs_to(r) for r in found} == runs for found in held.values()):
            continue
        examples = [found[0].settings for found in held.values()]
        name = differing(examples)[0]
        seen = list(dict.fromkeys(str(settings.get(name)) for settings in examples))
        raise InputError(
            f"the records of {measure} differ in {name} ({' and '.join(seen[:2])}), and no setting is there for "
            f"all runs; choose one with --measure {measure}:{name}={seen[0]}"
        )


def _cell(records: Sequence[Estimate]) -> Cell:
    return Cell(
        values=tuple(r.value for r in records),
        errors=tuple(r.standard_error for r in records),
        seeds=tuple((r.provenance.recipe or {}).get("seed") for r in records),
        converged=all(r.converged is not False for r in records),
    )


def _measured_on(record: Estimate) -> str:
    origin = record.provenance
    return f"{origin.data} {origin.split}, {origin.num_examples} examples" if origin.data else ""


def _confounded(records: Sequence[Estimate], names: Sequence[str], fields: Sequence[str]) -> list[str]:
    """What else differs between the rows than the fields that make them."""
    recipes = {name: dict(r.provenance.recipe or {}) for r, name in zip(records, names, strict=True)}
    found = []
    for name in differing(list(recipes.values())):
        if name not in (*REPEATED, *fields):
            values = ", ".join(f"{row} {recipe.get(name)}" for row, recipe in recipes.items())
            found.append(f"the rows differ in {name} too: {values}")
    return found
