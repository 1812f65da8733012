"""The table of a comparison: cells, paired differences, leads, and the sentences that qualify them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from landscape.comparison.cell import RULE, Cell, outlying
from landscape.comparison.columns import Look, look
from landscape.comparison.intervals import FEWEST, Method
from landscape.comparison.paired import Difference, Verdict, paired_difference, verdict
from landscape.records.json_lines import plain
from landscape.tables import WIDTH, Content, Grid, Number, folded, rounded
from landscape.tables.escaping import for_latex, visible
from landscape.tables.typesetting import bracketed, signed


@dataclass(frozen=True)
class Lead:
    """The best row of a column, with its difference from the second best, paired by seed."""

    column: str
    row: str
    runner_up: str
    difference: Difference
    verdict: Verdict

    @property
    def is_clear(self) -> bool:
        """Whether the lead may be printed in bold: decided, and all numbers converged."""
        return self.verdict.is_decided and self.difference.converged


@dataclass(frozen=True)
class Table:
    """Rows by columns of :class:`Cell`, and how they are rendered.

    Attributes:
        rows: Row labels in order.
        columns: Column labels in order.
        cells: Cells by ``(row, column)``; a pair that was not measured is absent.
        heading: What the rows are, such as ``"optimizer"``.
        measured_on: The data in a few words; empty if unknown.
        baseline: The row that the others are compared with; by default the first.
        method: How intervals are computed.
        looks: Appearance of columns that differ from the default.
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
        """Appearance of a column."""
        return self.looks.get(column) or look(column)

    def difference(self, row: str, other: str, column: str) -> Difference | None:
        """``row − other``, paired by seed; ``None`` if one of them was not measured."""
        ours, theirs = self.cells.get((row, column)), self.cells.get((other, column))
        return None if ours is None or theirs is None else paired_difference(ours, theirs, method=self.method)

    def differences(self) -> list[tuple[str, str, Difference]]:
        """``(column, row, difference)`` of every row from the reference."""
        return [
            (column, row, difference)
            for column in self.columns
            for row in self.rows
            if row != self.reference
            and (difference := self.difference(row, self.reference, column)) is not None
        ]

    def lead(self, column: str) -> Lead | None:
        """The best row of a column; ``None`` if no direction is better or fewer than two means are finite."""
        better = self.look(column).better
        means = {row: self.cells[row, column].mean for row in self.rows if (row, column) in self.cells}
        finite = {row: mean for row, mean in means.items() if abs(mean) < float("inf")}
        if better is None or len(finite) < 2:
            return None
        first, second = sorted(finite, key=lambda row: finite[row], reverse=better == "higher")[:2]
        difference = self.difference(first, second, column)
        assert difference is not None
        return Lead(column, first, second, difference, verdict(difference))

    def leads(self) -> list[Lead]:
        """The best row of each column that has a better direction."""
        return [lead for column in self.columns if (lead := self.lead(column)) is not None]

    def text(self) -> str:
        """The table, the differences and the notes for a terminal of 80 columns."""
        parts = [self._grid(self._notes()).text(width=WIDTH)]
        if self.differences():
            parts.append("\n".join([self._differences_in_paragraphs(), folded([self._chance()])]))
        if leads := self.leads():
            parts.append(folded(map(self._sentence, leads)))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Pipe tables of the cells and of the differences, with the notes. A clear lead is bold."""
        sentences = [self._sentence(lead) for lead in self.leads()]
        if not self.differences():
            return self._grid([*self._notes(), *sentences]).markdown()
        head = ["measure", self.heading, f"difference from {self.reference}", "n", "verdict"]
        differences = Grid(head, self._difference_lines(), [self._chance(), *sentences])
        return "\n\n".join([self._grid(self._notes()).markdown(), differences.markdown()])

    def latex(self) -> str:
        """A ``booktabs`` tabular, with the differences and notes for its caption as comments."""
        notes = self._notes()
        for heading, row, number, n, words in self._difference_lines():
            words = words.removesuffix(" †")
            notes.append(f"{heading}: {row} minus {self.reference} {number}, n = {n}: {words}")
        if self.differences():
            notes.append(self._chance())
        return self._grid([*notes, *map(self._sentence, self.leads())]).latex()

    def csv(self) -> str:
        """One line per row and measure, unrounded, with the paired difference and its 95 % interval."""
        head = ["measure", "mean", "std", "monte_carlo_error", "n", "converged"]
        head += ["reference", "difference", "low", "high", "pairs", "verdict"]
        lines: list[list[Content]] = []
        for row, column in ((row, column) for row in self.rows for column in self.columns):
            cell = self.cells.get((row, column))
            if cell is None:
                continue
            numbers = (cell.mean, cell.spread, cell.monte_carlo, len(cell.values))
            line: list[Content] = [row, column, *numbers, cell.converged]
            d = None if row == self.reference else self.difference(row, self.reference, column)
            if d is not None:
                i = d.interval
                line += [self.reference, i.mean, i.low, i.high, i.n, verdict(d).kind]
            lines.append(line + [None] * (1 + len(head) - len(line)))
        return Grid([self.heading, *head], lines).csv()

    def as_dict(self) -> dict[str, object]:
        """Everything in JSON's types; numbers that are not finite are strings, as in the records."""
        cells, leads = [], []
        for (row, column), cell in self.cells.items():
            numbers = {"mean": cell.mean, "std": cell.spread, "monte_carlo_error": cell.monte_carlo}
            about = {"n": len(cell.values), "converged": cell.converged}
            runs = {"values": cell.values, "errors": cell.errors, "seeds": cell.seeds}
            cells.append(plain({self.heading: row, "measure": column, **numbers, **about, **runs}))
        for lead in self.leads():
            rows = {"measure": lead.column, self.heading: lead.row, "runner_up": lead.runner_up}
            judgement = {"clear": lead.is_clear, "words": self._sentence(lead)}
            leads.append({**rows, **judgement, **_difference_dict(lead.difference)})
        differences = [
            {self.heading: row, "measure": column, **_difference_dict(difference)}
            for column, row, difference in self.differences()
        ]
        head = {"rows": self.heading, "measured_on": self.measured_on, "reference": self.reference}
        interval = {"level": 0.95, "method": self.method}
        parts = {"cells": cells, "differences": differences, "leads": leads}
        return {**head, "interval": interval, **parts, "notes": self._notes()}

    def _grid(self, notes: list[str]) -> Grid:
        most = max(len(cell.values) for cell in self.cells.values())
        clear = {(lead.row, lead.column) for lead in self.leads() if lead.is_clear}

        def number(row: str, column: str) -> Number | None:
            cell = self.cells.get((row, column))
            if cell is None:
                return None
            factor, spread = self.look(column).factor, cell.spread
            text = rounded(factor * cell.mean, None if spread is None else factor * spread)
            if spread == 0:  # rounded() omits it, but here it says that the runs agree
                text += " ± 0"
            n = None if len(cell.values) == most else len(cell.values)
            return Number(text, cell.converged, n, bold=(row, column) in clear)

        looks = [self.look(column) for column in self.columns]
        return Grid(
            [self.heading, *(each.heading for each in looks)],
            [[row, *(number(row, column) for column in self.columns)] for row in self.rows],
            notes,
            [for_latex(self.heading), *(each.latex or for_latex(each.heading) for each in looks)],
            bold="the paired 95 % interval excludes the runner-up",
        )

    def _difference_lines(self) -> list[list[str]]:
        """``[column, row, difference, n, verdict]`` of every row from the reference."""
        lines = []
        for column, row, difference in self.differences():
            look, words = self.look(column), verdict(difference).words
            numbers = [_with_interval(difference, look.factor), str(difference.interval.n)]
            lines.append([look.heading, row, *numbers, words + ("" if difference.converged else " †")])
        return lines

    def _differences_in_paragraphs(self) -> str:
        """A paragraph per column, because the names of optimizers are too long for another column of a table."""
        lines = [[visible(cell) for cell in line] for line in self._difference_lines()]
        parts = [folded([f"Difference from {self.reference}, paired by seed:"])]
        sizes = [max(len(line[k]) for line in lines) for k in (1, 2)]
        for column in dict.fromkeys(line[0] for line in lines):
            parts.append(column)
            for _, row, number, n, words in (line for line in lines if line[0] == column):
                start = f"  {row:<{sizes[0]}}  {number:<{sizes[1]}}  n={n}"
                line = f"{start}  {words}"
                parts.append(line if len(line) <= WIDTH else f"{start}\n    {words}")
        return "\n".join(parts)

    def _notes(self) -> list[str]:
        """What the numbers are, and which of them are doubtful."""
        counts = {len(cell.values) for cell in self.cells.values()}
        seeds = f"n = {counts.pop()}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
        where = f"; {self.measured_on}" if self.measured_on else ""
        notes = [f"mean ± standard deviation over runs, {seeds}{where}"]
        sampled = []
        for column in self.columns:
            errors = [e for (_, name), c in self.cells.items() if name == column and (e := c.monte_carlo)]
            if errors:
                look = self.look(column)
                sampled.append(f"{look.heading} {look.factor * max(errors):.2g}")
        if sampled:
            notes.append(f"standard error of the means from sampling alone, at most: {', '.join(sampled)}")
        if not all(cell.converged for cell in self.cells.values()):
            notes.append("† not converged in at least one run")
        return [*notes, *self._not_finite(), *self._outliers(), *self.remarks]

    def _not_finite(self) -> Iterator[str]:
        """The runs because of which a mean is not finite, and the mean without them."""
        for (row, column), cell in self.cells.items():
            if cell.not_finite:
                seeds = ", ".join(map(str, cell.not_finite))
                left = [v for v in cell.values if abs(v) < float("inf")]
                rest = Cell(tuple(self.look(column).factor * v for v in left))
                others = f"; the other {len(left)}: {rounded(rest.mean, rest.spread)}" if left else ""
                yield f"{self.look(column).heading} is not finite in {row} seed {seeds}{others}"

    def _outliers(self) -> Iterator[str]:
        for (row, column), cell in self.cells.items():
            place = outlying(cell.values)
            if place is not None:
                seed = cell.seeds[place] if cell.seeds else place
                value = self.look(column).factor * cell.values[place]
                where = f"{row} seed {seed} is an outlier in {self.look(column).heading}"
                yield f"{where}: {value:.4g} ({RULE}); it is in the mean"

    def _chance(self) -> str:
        """How many of the intervals exclude zero by chance if nothing differs."""
        differences = self.differences()
        kind = {"t": "t", "bootstrap": "bootstrap (BCa)"}[self.method]
        count = len(differences)
        text = f"95 % {kind} intervals; of {count}, about {0.05 * count:.1f} exclude 0 by chance alone"
        few = max((d.interval.n for _, _, d in differences), default=0) < FEWEST[self.method]
        return f"{text}; verdicts need {FEWEST[self.method]} seeds" if few else text

    def _sentence(self, lead: Lead) -> str:
        """The best row of a column, and what its lead is worth."""
        look = self.look(lead.column)
        word = {"higher": "highest", "lower": "lowest", None: ""}[look.better]
        start = f"{look.heading}: {lead.row} is {word}"
        if lead.is_clear:
            difference = _with_interval(lead.difference, look.factor)
            return f"{start}, distinguishable from {lead.runner_up} ({difference})"
        if lead.verdict.is_decided:
            return f"{start}, but not all runs have converged"
        return f"{start}; {lead.runner_up} is next: {lead.verdict.words}"


def _with_interval(difference: Difference, factor: float) -> str:
    """``−1.2 [−2.0, −0.4]``, or the difference alone if it has no interval."""
    interval = difference.interval
    if math.isnan(interval.low) or interval.is_degenerate:
        return "–" if math.isnan(interval.mean) else signed(factor * interval.mean)
    return bracketed(factor * interval.mean, factor * interval.low, factor * interval.high)


def _difference_dict(difference: Difference) -> dict[str, object]:
    i = difference.interval
    numbers = {"difference": i.mean, "low": i.low, "high": i.high, "std": i.spread, "n": i.n}
    about = {"monte_carlo_error": difference.monte_carlo, "verdict": verdict(difference).kind}
    fields: dict[str, object] = plain({**numbers, "seeds": difference.seeds, **about})
    return fields
