"""Turns records into a table, averaging only numbers that repeat one another.

That is, the same measure with the same settings, on the same data, in the same batches, over runs that differ in
nothing but their seed. If a field differs, the error names it. A column is of one split: two splits of one measure are
two columns.
"""

from collections.abc import Iterable, Mapping, Sequence

from landscape.comparison import alike
from landscape.comparison.cell import Cell
from landscape.comparison.intervals import Method
from landscape.comparison.table import Table
from landscape.errors import InputError
from landscape.records.estimate import Estimate, free_parameters


def compare(
    records: Iterable[Estimate],
    rows: str | Sequence[str] = "optimizer",
    *,
    baseline: str | None = None,
    method: Method = "t",
    remarks: Sequence[str] = (),
) -> Table:
    """The table of many runs' records.

    Args:
        records: Estimates of trained checkpoints. Of several records of one quantity, the last one counts.
        rows: The recipe field that defines the rows, or several.
        baseline: The row that the others are compared with; by default the first, which is a plain optimizer if
            there is one and the rows were not named by the user.
        method: How intervals are computed: ``"t"`` or ``"bootstrap"``.
        remarks: What the reader has to know beside the numbers.

    Raises:
        InputError: There are no records, a record lacks the recipe field, or records cannot be compared or averaged
            because their data or settings differ, or the runs of one row differ in more than the seed.
    """
    fields = [rows] if isinstance(rows, str) else list(rows)
    latest = _latest(records)
    if not latest:
        raise InputError("there is nothing to compare: no record was found; run `landscape measure` first")
    # Networks of several sizes are the point of a table whose rows are the models.
    alike.refuse_unlike_in_a_split(latest, but=alike.OF_NETWORK if "model" in fields else ())
    row_of = [_row(record, fields) for record in latest]
    known = list(dict.fromkeys(row_of))
    alike.require_baseline(baseline, known)
    for row in known:
        runs = {
            alike.belongs_to(record): record
            for record, name in zip(latest, row_of, strict=True)
            if name == row
        }
        alike.refuse_other_runs(row, list(runs.values()), fields)
    _refuse_scattered_settings(latest)
    labels = alike.column_labels(latest)
    groups: dict[tuple[str, str], list[Estimate]] = {}
    for record, row, label in zip(latest, row_of, labels, strict=True):
        groups.setdefault((row, label), []).append(record)
    recipes = {row: dict(r.provenance.recipe or {}) for r, row in zip(latest, row_of, strict=True)}
    return Table(
        rows=alike.in_order(recipes, fields),
        columns=tuple(dict.fromkeys(labels)),
        cells={place: _cell(group) for place, group in groups.items()},
        heading=", ".join("method" if name == alike.ROW else name for name in fields),
        measured_on=_measured_on(latest),
        baseline=baseline,
        method=method,
        remarks=(
            *remarks,
            *_selected(latest),
            *_confounded(recipes, fields),
            *alike.other_examples(latest),
        ),
    )


def _measured_on(records: Sequence[Estimate]) -> str:
    """The data, and the size of each split: ``"digits test, 360 examples; train, 1437 examples"``."""
    origins = {r.provenance.split: r.provenance for r in records if r.provenance.split is not None}
    sizes = [f"{part}, {origin.num_examples} examples" for part, origin in origins.items()]
    data = next((origin.data for origin in origins.values()), None)
    return f"{data} {'; '.join(sizes)}" if data else ""


def _selected(records: Sequence[Estimate]) -> list[str]:
    """Which parameters are free, if not all are."""
    return [
        line for line in dict.fromkeys(free_parameters(r.provenance) for r in records) if line is not None
    ]


def _latest(records: Iterable[Estimate]) -> list[Estimate]:
    last: dict[tuple[object, ...], Estimate] = {}
    for record in records:
        origin = record.provenance
        quantity = (
            record.measure,
            alike.settings_key(record),
            origin.split,
            origin.parameters,
            origin.frozen,
        )
        last[*quantity, alike.belongs_to(record)] = record
    return list(last.values())


def _row(record: Estimate, fields: Sequence[str]) -> str:
    """Label of the row that a record is in."""
    recipe = record.provenance.recipe or {}
    for name in fields:
        if name not in recipe:
            if not recipe:
                raise InputError(
                    f"a record of {record.measure} does not say of which run it is: its checkpoint was not written by "
                    "`landscape train`; name the rows with --group ROW=PATTERN or --runs FILE.csv"
                )
            raise InputError(
                f"a record of {record.measure} has no recipe field '{name}' (fields: {', '.join(recipe)})"
            )
    return alike.row_label(recipe, fields)


def _refuse_scattered_settings(records: Sequence[Estimate]) -> None:
    """Requires of a measure with several settings that at least one of them is recorded for every run."""
    runs = {alike.belongs_to(record) for record in records}
    for measure, part in dict.fromkeys((record.measure, record.provenance.split) for record in records):
        by_settings: dict[str, list[Estimate]] = {}
        for record in records:
            if (record.measure, record.provenance.split) == (measure, part):
                by_settings.setdefault(alike.settings_key(record), []).append(record)
        groups = by_settings.values()
        if len(groups) > 1 and not any({alike.belongs_to(r) for r in group} == runs for group in groups):
            alike.refuse_scattered(measure, [group[0].settings for group in groups])


def _cell(records: Sequence[Estimate]) -> Cell:
    return Cell(
        values=tuple(r.value for r in records),
        errors=tuple(r.standard_error for r in records),
        seeds=tuple((r.provenance.recipe or {}).get("seed") for r in records),
        converged=all(r.converged is not False for r in records),  # None: nothing iterates
    )


def _confounded(recipes: Mapping[str, Mapping[str, object]], fields: Sequence[str]) -> list[str]:
    """In what the rows differ besides the fields that define them."""
    remarks = []
    # Rows with names of their own are of different optimizers as a rule.
    defined = (*fields, "optimizer", "base") if alike.ROW in fields else fields
    for name in alike.differing(list(recipes.values())):
        if name not in (*alike.REPEATED, *defined):
            values = ", ".join(f"{row} {recipe.get(name)}" for row, recipe in recipes.items())
            remarks.append(f"the rows differ in {name} too: {values}")
    return remarks
