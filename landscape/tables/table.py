"""A comparison table as numbers, and as text, Markdown, LaTeX, CSV and JSON."""

import csv
import io
import math
import re
import statistics
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from landscape.records import plain
from landscape.tables.typesetting import WIDTH, aligned, blocks, escaped, rounded, width

_ABSENT = ("–", "--")


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
        """The mean over runs; NaN or infinite if one of them is."""
        if not all(map(math.isfinite, self.values)):
            return sum(self.values)
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs; ``None`` for a single one, NaN if one is not finite."""
        if len(self.values) < 2:
            return None
        return statistics.stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan


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
        """Aligned columns for a terminal of 80, one line a row, or one a measure where that gets too wide."""
        lines = [[self.heading, *self.columns], *self._body(_plain)]
        if width(lines) > WIDTH:
            lines = [list(column) for column in zip(*lines, strict=True)]
        notes = [textwrap.fill(note, WIDTH, break_on_hyphens=False) for note in self._notes()]
        return "\n".join(["\n\n".join(aligned(block) for block in blocks(lines)), *notes])

    def markdown(self) -> str:
        """A pipe table."""
        lines = [[self.heading, *self.columns], ["---"] * (len(self.columns) + 1), *self._body(_plain)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([table, *self._notes()])

    def latex(self) -> str:
        """A booktabs tabular."""
        header = " & ".join(escaped(label) for label in (self.heading, *self.columns))
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
        """The same in JSON's types; what is not finite as in the records."""
        return {
            "rows": self.heading,
            "cells": [
                {
                    self.heading: row,
                    "measure": column,
                    "mean": plain(cell.mean),
                    "std": plain(cell.spread),
                    "monte_carlo_error": plain(cell.monte_carlo),
                    "n": len(cell.values),
                    "converged": cell.converged,
                }
                for (row, column), cell in self.cells.items()
            ],
        }

    def _body(self, shown: Callable[[Cell], str]) -> list[list[str]]:
        return [
            [
                escaped(row) if shown is _math else row,
                *(
                    shown(self.cells[row, column]) if (row, column) in self.cells else _ABSENT[shown is _math]
                    for column in self.columns
                ),
            ]
            for row in self.rows
        ]

    def _notes(self) -> list[str]:
        runs = {len(cell.values) for cell in self.cells.values()}
        counted = f"n = {runs.pop()}" if len(runs) == 1 else f"n = {min(runs)} to {max(runs)}"
        notes = [f"mean ± standard deviation over runs, {counted}"]
        sampled = {
            column: max(c.monte_carlo for (_, k), c in self.cells.items() if k == column and c.monte_carlo)
            for column in self.columns
            if any(c.monte_carlo for (_, k), c in self.cells.items() if k == column)
        }
        if sampled:
            shown = ", ".join(f"{column} {error:.2g}" for column, error in sampled.items())
            notes.append(f"standard error of the means from sampling alone, at most: {shown}")
        if not all(cell.converged for cell in self.cells.values()):
            notes.append("† not converged in at least one run")
        return notes


def _plain(cell: Cell) -> str:
    mark = "" if cell.converged else "†"
    return rounded(cell.mean, cell.spread) + mark


def _math(cell: Cell) -> str:
    number = rounded(cell.mean, cell.spread).replace("±", r"\pm").replace("NaN", r"\mathrm{NaN}")
    number = re.sub(
        r"e([+-])?0*(\d+)$", lambda m: rf" \times 10^{{{m[1] or ''}{m[2]}}}".replace("+", ""), number
    )
    return "$" + number.replace("inf", r"\infty") + ("" if cell.converged else r"^\dagger") + "$"
