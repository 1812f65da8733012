"""A comparison as numbers: cells by row and column, paired differences, and who leads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from landscape.comparison.appearance import Look, look
from landscape.comparison.cell import Cell
from landscape.comparison.intervals import Method
from landscape.comparison.paired import Difference, paired_difference
from landscape.comparison.verdict import Verdict, verdict


@dataclass(frozen=True)
class Lead:
    """The row that leads a column, and whether its lead over the next one is more than chance.

    Attributes:
        column: Of the table.
        row: The one with the best mean.
        runner_up: The one with the second best.
        difference: Of the two, paired by seed.
        verdict: What it says.
    """

    column: str
    row: str
    runner_up: str
    difference: Difference
    verdict: Verdict

    @property
    def is_clear(self) -> bool:
        """Whether the lead may be printed in bold: told apart from the runner-up, and nothing unconverged."""
        return self.verdict.is_decided and self.difference.converged


@dataclass(frozen=True)
class Table:
    """Rows by columns of :class:`Cell`.

    Attributes:
        rows: Row labels, in order of first appearance.
        columns: Measure labels, in order of first appearance.
        cells: By ``(row, column)``; a pair that was not measured is absent.
        heading: What the rows are, such as ``"optimizer"``.
        measured_on: The data, in a few words; empty where nothing is known of them.
        baseline: The row that the others are compared with; the first one by default.
        method: How the intervals are made.
        looks: How columns are shown, where not as usual.
        remarks: What the reader has to know beside the numbers.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    heading: str
    measured_on: str = ""
    baseline: str | None = None
    method: Method = "t"
    looks: Mapping[str, Look] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """The row that the others are compared with."""
        return self.rows[0] if self.baseline is None else self.baseline

    def look(self, column: str) -> Look:
        """How a column is shown."""
        return self.looks.get(column) or look(column)

    def difference(self, row: str, other: str, column: str) -> Difference | None:
        """``row − other``, paired by seed; ``None`` where one of the two was not measured."""
        ours, theirs = self.cells.get((row, column)), self.cells.get((other, column))
        return None if ours is None or theirs is None else paired_difference(ours, theirs, method=self.method)

    def differences(self) -> list[tuple[str, str, Difference]]:
        """``(column, row, difference)`` of every row from the reference."""
        return [
            (column, row, found)
            for column in self.columns
            for row in self.rows
            if row != self.reference and (found := self.difference(row, self.reference, column)) is not None
        ]

    def lead(self, column: str) -> Lead | None:
        """Who leads a column; ``None`` where no end of it is the better one, or fewer than two rows have a mean."""
        better = self.look(column).better
        means = {row: self.cells[row, column].mean for row in self.rows if (row, column) in self.cells}
        finite = {row: mean for row, mean in means.items() if abs(mean) < float("inf")}
        if better is None or len(finite) < 2:
            return None
        first, second = sorted(finite, key=lambda row: finite[row], reverse=better == "higher")[:2]
        found = self.difference(first, second, column)
        assert found is not None
        return Lead(column, first, second, found, verdict(found))

    def leads(self) -> list[Lead]:
        """Who leads each column that has a better end."""
        return [lead for column in self.columns if (lead := self.lead(column)) is not None]

    def text(self) -> str:
        """For a terminal of 80 columns."""
        from landscape.comparison.as_text import as_text

        return as_text(self)

    def markdown(self) -> str:
        """Pipe tables."""
        from landscape.comparison.as_markdown import as_markdown

        return as_markdown(self)

    def latex(self) -> str:
        """A booktabs tabular."""
        from landscape.comparison.as_latex import as_latex

        return as_latex(self)

    def csv(self) -> str:
        """One line a row and measure."""
        from landscape.comparison.as_csv import as_csv

        return as_csv(self)

    def as_dict(self) -> dict[str, object]:
        """Everything in JSON's types; what is not finite as in the records."""
        from landscape.comparison.as_json import as_dict

        return as_dict(self)
