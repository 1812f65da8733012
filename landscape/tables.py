"""Records to a comparison table: one row an optimizer (or any recipe field), mean ± spread over seeds.

Numbers are averaged only when they may be: the same measure with the same settings, on the same data, in the
same batches, for the same kind of model. Where a field differs, the error names it.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from landscape.errors import InputError
from landscape.estimate import Estimate

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


@dataclass(frozen=True)
class Cell:
    """One measure of one row: the values, one a run, and whether each converged.

    ``spread`` is the standard deviation over runs (n − 1), ``monte_carlo`` the standard error that the runs'
    own estimates contribute to the mean; they are different doubts and are shown apart.
    """

    values: tuple[float, ...]
    monte_carlo: float | None
    converged: bool

    @property
    def mean(self) -> float:
        """The mean over runs."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs; ``None`` for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Table:
    """Rows by columns of :class:`Cell`.

    Attributes:
        rows: Row labels, in order of first appearance.
        columns: Measure labels, in order of first appearance.
        cells: By ``(row, column)``; a pair that was not measured is absent.
        heading: What the rows are, such as ``"optimizer"``.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    heading: str

    def text(self) -> str:
        """Aligned columns for a terminal, one line a row and one row a measure where it gets too wide."""
        lines = [[self.heading, *self.columns], *self._body(_plain)]
        if sum(max(len(line[k]) for line in lines) + 2 for k in range(len(lines[0]))) > 78:
            lines = [list(column) for column in zip(*lines, strict=True)]
        return "\n".join([aligned(lines), *self._notes()])

    def markdown(self) -> str:
        """A pipe table."""
        lines = [[self.heading, *self.columns], ["---"] * (len(self.columns) + 1), *self._body(_plain)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([table, *self._notes()])

    def latex(self) -> str:
        """A booktabs tabular."""
        header = " & ".join(_escaped(label) for label in (self.heading, *self.columns))
        body = [" & ".join(line) + r" \\" for line in self._body(_math)]
        return "\n".join(
            [
                *(f"% {note}" for note in self._notes()),
                rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
                r"\toprule",
                header + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )

    def csv(self) -> str:
        """One line a row and measure: mean, spread over runs, Monte-Carlo error, n, converged."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([self.heading, "measure", "mean", "std", "monte_carlo_error", "n", "converged"])
        for row in self.rows:
            for column in self.columns:
                cell = self.cells.get((row, column))
                if cell is not None:
                    numbers = [cell.mean, cell.spread, cell.monte_carlo]
                    shown = ["" if x is None else repr(x) for x in numbers]
                    writer.writerow([row, column, *shown, len(cell.values), cell.converged])
        return out.getvalue()

    def as_dict(self) -> dict[str, object]:
        """The same in JSON's types."""
        return {
            "rows": self.heading,
            "cells": [
                {
                    self.heading: row,
                    "measure": column,
                    "mean": cell.mean if math.isfinite(cell.mean) else None,
                    "std": cell.spread if cell.spread is None or math.isfinite(cell.spread) else None,
                    "monte_carlo_error": cell.monte_carlo,
                    "n": len(cell.values),
                    "converged": cell.converged,
                }
                for (row, column), cell in self.cells.items()
            ],
        }

    def _body(self, shown: Callable[[Cell], str]) -> list[list[str]]:
        return [
            [
                _escaped(row) if shown is _math else row,
                *(
                    shown(self.cells[row, column]) if (row, column) in self.cells else "–"
                    for column in self.columns
                ),
            ]
            for row in self.rows
        ]

    def _notes(self) -> list[str]:
        runs = {len(cell.values) for cell in self.cells.values()}
        counted = f"n = {runs.pop()}" if len(runs) == 1 else f"n = {min(runs)} to {max(runs)}"
        notes = [f"mean ± standard deviation over runs, {counted}"]
        if not all(cell.converged for cell in self.cells.values()):
            notes.append("† not converged in at least one run")
        return notes


def compare(records: Iterable[Estimate], rows: str = "optimizer") -> Table:
    """The table of many runs' records.

    Args:
        records: Estimates of trained checkpoints; of several records of one quantity the last one counts.
        rows: The recipe field that makes the rows.

    Raises:
        InputError: No records, a record without that recipe field, or records whose data or settings
            differ, with the field named.
    """
    last: dict[tuple[object, ...], Estimate] = {}
    for record in records:
        origin = record.provenance
        last[record.measure, _settings(record), origin.split, origin.checkpoint] = record
    kept = list(last.values())
    if not kept:
        raise InputError("there is nothing to compare: no record was found; run `landscape measure` first")
    refuse_unlike(kept)
    labels = _column_labels(kept)
    grouped: dict[tuple[str, str], list[Estimate]] = {}
    for record in kept:
        recipe = record.provenance.recipe
        if recipe is None or rows not in recipe:
            fields = ", ".join(recipe) if recipe else "none: the checkpoint was not trained here"
            raise InputError(f"a record of {record.measure} has no recipe field '{rows}' (fields: {fields})")
        grouped.setdefault((str(recipe[rows]), labels[record.measure, _settings(record)]), []).append(record)
    return Table(
        rows=tuple(dict.fromkeys(row for row, _ in grouped)),
        columns=tuple(dict.fromkeys(labels.values())),
        cells={place: _cell(found) for place, found in grouped.items()},
        heading=rows,
    )


def refuse_unlike(records: Sequence[Estimate]) -> None:
    """Raises :class:`InputError`, naming the field, if records may not be set side by side."""
    for name in COMPARABLE:
        seen = dict.fromkeys(getattr(record.provenance, name) for record in records)
        if len(seen) > 1:
            shown = " and ".join(str(value) for value in list(seen)[:2])
            raise InputError(
                f"the records differ in {name} ({shown}), so their numbers cannot be compared; "
                f"measure every run with the same {name}, or choose records with --split or --measures"
            )


def _cell(records: Sequence[Estimate]) -> Cell:
    errors = [r.standard_error for r in records if r.standard_error is not None]
    return Cell(
        values=tuple(r.value for r in records),
        monte_carlo=math.sqrt(math.fsum(e**2 for e in errors)) / len(records) if errors else None,
        converged=all(r.converged is not False for r in records),
    )


def _settings(record: Estimate) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(record.settings.items()))


def _column_labels(records: Sequence[Estimate]) -> dict[tuple[str, str], str]:
    """The measure's name, with its settings where the same measure was taken with several."""
    kinds = list(dict.fromkeys((r.measure, _settings(r)) for r in records))
    names = [name for name, _ in kinds]
    return {
        (name, settings): name if names.count(name) == 1 else f"{name}:{settings}" for name, settings in kinds
    }


def _plain(cell: Cell) -> str:
    mark = "" if cell.converged else "†"
    return rounded(cell.mean, cell.spread) + mark


def _math(cell: Cell) -> str:
    mark = "" if cell.converged else r"^\dagger"
    return "$" + rounded(cell.mean, cell.spread).replace("±", r"\pm") + mark + "$"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns, the first column to the left, numbers to the right."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    numeric = [
        k > 0 and all(line[k][:1] in "-0123456789N(–" for line in lines[1:]) for k in range(len(widths))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def rounded(value: float, doubt: float | None) -> str:
    """``value ± doubt``, the doubt to two significant digits and the value to the same place."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if doubt is None or not math.isfinite(doubt) or doubt == 0:
        return f"{value:.4g}"
    exponent = math.floor(math.log10(doubt))
    if -5 < exponent < 6:
        places = max(0, 1 - exponent)
        return f"{value:.{places}f} ± {doubt:.{places}f}"
    power = math.floor(math.log10(max(abs(value), doubt)))
    places = max(0, power - exponent + 1)
    return f"({value / 10**power:.{places}f} ± {doubt / 10**power:.{places}f})e{power}"


def _escaped(text: str) -> str:
    return "".join("\\" + c if c in "&%$#_{}" else c for c in text)
