"""Gathers the numbers of a comparison: from the records of its runs, and measured where these lack one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from landscape.comparison import Table, belongs_to, compare
from landscape.comparison.alike import ROW
from landscape.comparison.intervals import Method
from landscape.comparison.request import DERIVED, Column, derived, measured, of_columns
from landscape.comparison.runs import OF_HISTORY, MeasuredRun, from_history, without_split
from landscape.comparison.selection import Conditions, Missing, recorded_for_all, select
from landscape.errors import InputError
from landscape.records.estimate import Estimate
from landscape.registry.names import Specification, split, split_of

from .missing import Measuring


@dataclass(frozen=True)
class Gathered:
    """The numbers of the columns, in the order of the runs.

    Attributes:
        records: The numbers.
        columns: The columns that have any.
        remarks: What is left out, and why.
        numbers: How many were read from records and how many were measured, in words.
    """

    records: tuple[Estimate, ...]
    columns: tuple[Column, ...]
    remarks: tuple[str, ...]
    numbers: str

    def table(
        self,
        rows: Sequence[str],
        *,
        baseline: str | None = None,
        method: Method = "t",
        remarks: Sequence[str],
    ) -> Table:
        """The numbers as a table, its columns in their order."""
        table = compare(self.records, rows, baseline=baseline, method=method, remarks=remarks)

        def place(label: str) -> int:
            part, name = split_of(label)
            matches = [
                k
                for k, column in enumerate(self.columns)
                if column.measure == split(name).name and part in (None, column.split)
            ]
            return matches[0]

        order = tuple(sorted(table.columns, key=place))
        # What is written cell by cell has their order too.
        places = [(row, column) for column in order for row in table.rows if (row, column) in table.cells]
        return replace(table, columns=order, cells={each: table.cells[each] for each in places})


@dataclass(frozen=True)
class Gathering:
    """How the numbers of some runs are found.

    Attributes:
        runs: The runs.
        rows: The fields that define the rows.
        conditions: Under which conditions numbers are measured, on any split.
        measuring: How missing numbers are measured.
        verified: Whether records are used only if they hold for the model and the data that the flags name.
        measure_missing: Whether missing numbers are measured.
        unmeasured: Why they are not.
    """

    runs: Sequence[MeasuredRun]
    rows: Sequence[str]
    conditions: Conditions
    measuring: Measuring
    verified: bool
    measure_missing: bool
    unmeasured: str = "--no-measure-missing"

    def gathered(self, requested: Sequence[Column], *, is_default: bool) -> Gathered:
        """The numbers of some columns.

        Args:
            requested: The columns.
            is_default: Whether these are the default columns: other measures on record for every run are then added,
                and columns that cannot be measured are left out.
        """
        recorded_only = is_default and not (self.measure_missing and all(run.checkpoint for run in self.runs))
        records, missing, remarks = self._needed(
            requested, is_default=is_default, recorded_only=recorded_only
        )
        read, new = len(records), 0
        if missing and (recorded_only or not self.measure_missing):
            lacking = ", ".join(dict.fromkeys(gap.measure.name for gap in missing))
            count = len({id(gap.run) for gap in missing})
            reason = "no checkpoint to measure" if self.measure_missing else self.unmeasured
            remarks.append(f"{lacking} is not measured for {count} runs ({reason})")
        elif missing:
            # Those of runs that need no check are among the records already.
            others = self._others(requested) if is_default and self.verified else {}
            results = self.measuring.results(missing, others)
            records += results.estimates
            remarks += results.failures
            if results.failures and not records:
                raise InputError(results.failures[0].partition(" is left out: ")[2])
            read, new = read + results.read, results.measured
        numbers = f"{read} numbers read from records, {new} measured now"
        return self._completed(records, requested, remarks, numbers, is_default=is_default)

    def plan(self, requested: Sequence[Column], *, is_default: bool) -> str:
        """What would be measured, and the expected time; measures nothing."""
        records, missing, _ = self._needed(requested, is_default=is_default)
        return self.measuring.plan(missing, len(records))

    def _needed(
        self, requested: Sequence[Column], *, is_default: bool, recorded_only: bool = False
    ) -> tuple[list[Estimate], list[Missing], list[str]]:
        """The records of some columns that may be used as they are, what is missing, and remarks.

        With ``recorded_only``, all that is on record on the splits of the columns, and what only some runs have.
        """
        records: list[Estimate] = []
        missing: list[Missing] = []
        remarks: list[str] = []
        others = self._others(requested) if is_default and not recorded_only else {}
        for part, names in measured(requested).items():
            conditions = replace(self.conditions, split=part)
            if self.verified and self.measure_missing and not recorded_only:
                missing += [Missing(run, split(name), conditions) for run in self.runs for name in names]
                continue
            everything = [*names, *(str(each) for each in others.get(part, ()))]
            selection = select(self.runs, None if recorded_only else everything, conditions, rows=self.rows)
            records += selection.records
            missing += selection.missing
            remarks += selection.remarks
        return records, missing, remarks

    def _others(self, requested: Sequence[Column]) -> dict[str, list[Specification]]:
        """By split, the measures that every run has on record besides those of some columns."""
        others = {}
        for part, names in measured(requested).items():
            known = {split(name).name for name in names}
            recorded = recorded_for_all(self.runs, replace(self.conditions, split=part))
            others[part] = [each for each in recorded if each.name not in known]
        return others

    def _completed(
        self,
        records: list[Estimate],
        requested: Sequence[Column],
        remarks: list[str],
        numbers: str,
        *,
        is_default: bool,
    ) -> Gathered:
        """The records with those of the training and those derived from two splits, and the columns that they fill."""
        if is_default:
            # For example the accuracy of a regression: a default column, which would be undefined.
            defined = {_key(e) for e in records if "undefined" not in e.details}
            records = [e for e in records if _key(e) in defined]
        measured_keys = dict.fromkeys(map(_key, records))
        for column in requested:
            if column.measure in OF_HISTORY:
                records += self._of_history(column.measure, records)
            elif column.measure in DERIVED:
                records += derived(column.measure, records)
        filled = {_key(e) for e in records}
        columns = [column for column in requested if (column.measure, column.split) in filled]
        if is_default:
            parts = {
                (DERIVED[column.measure].measure, part)
                for column in columns
                if column.measure in DERIVED
                for part in DERIVED[column.measure].splits
            }
            listed = {(column.measure, column.split) for column in columns}
            columns += [Column(*key) for key in measured_keys if key not in parts | listed]
        else:
            absent = [column.name for column in requested if column not in columns]
            remarks += [f"{', '.join(absent)} is not available for any run"] if absent else []
        in_columns = of_columns(self._labelled(records), columns)
        return Gathered(tuple(self._in_order(in_columns)), tuple(columns), tuple(remarks), numbers)

    def _of_history(self, measure: str, records: Sequence[Estimate]) -> list[Estimate]:
        """A quantity of the training history, for each run that has it."""
        likes = [next((e.provenance for e in records if run.holds(e)), None) for run in self.runs]
        rows = [from_history(run, measure, like) for run, like in zip(self.runs, likes, strict=True)]
        return [without_split(row) for row in rows if row is not None]

    def _labelled(self, records: Sequence[Estimate]) -> list[Estimate]:
        """The records with the rows and seeds that the user has given their checkpoints."""
        recipes = {run.digest: run.recipe for run in self.runs if run.recipe and ROW in run.recipe}
        return [
            replace(e, provenance=replace(e.provenance, recipe=recipes[e.provenance.checkpoint]))
            if e.provenance.checkpoint in recipes
            else e
            for e in records
        ]

    def _in_order(self, records: Sequence[Estimate]) -> list[Estimate]:
        """The records in the order of their runs, which is that of the rows."""
        place = {belongs_to(e): k for k, run in enumerate(self.runs) for e in run.estimates}
        place |= {run.digest: k for k, run in enumerate(self.runs) if run.digest is not None}
        return sorted(records, key=lambda e: place.get(belongs_to(e), len(self.runs)))


def _key(record: Estimate) -> tuple[str, str | None]:
    return record.measure, record.provenance.split
