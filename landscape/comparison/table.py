"""The table of a comparison: cells, paired differences, leads, and the sentences that qualify them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from landscape.comparison.cell import RULE, Cell, outlying
from landscape.comparison.columns import Look, look
from landscape.comparison.intervals import Method
from landscape.comparison.paired import Difference, Verdict, paired_difference, verdict
from landscape.records.json_lines import plain
from landscape.registry.names import split_of
from landscape.registry.titles import row_title
from landscape.registry.venues import venue as page_of
from landscape.tables import WIDTH, Content, Grid, Number, folded, rounded
from landscape.tables.escaping import for_html, for_latex, for_markdown
from landscape.tables.latex import breakable
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
        remarks: What the reader has to know beside the numbers.
        labels: Names of rows where they are printed; by default as papers write them. JSON and CSV have the rows.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    heading: str
    measured_on: str = ""
    baseline: str | None = None
    method: Method = "t"
    remarks: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The row that the others are compared with."""
        return self.rows[0] if self.baseline is None else self.baseline

    def label(self, row: str) -> str:
        """The name of a row where it is printed."""
        return self.labels.get(row) or row_title(row, self.heading)

    @cached_property
    def _splits(self) -> list[str]:
        """The split of each column if there are several, and otherwise none."""
        splits = [split_of(column)[0] or "" for column in self.columns]
        return splits if len(set(splits)) > 1 else [""] * len(splits)

    @cached_property
    def headings(self) -> Mapping[str, str]:
        """The heading of each column, with its split if there are several: "Tr H (train)"."""
        headings = {}
        for column, split in zip(self.columns, self._splits, strict=True):
            name = look(column).heading
            start = f"{name[:-1]}, " if name.endswith(")") else f"{name} ("
            headings[column] = f"{start}{split})" if split else name
        return headings

    def difference(self, row: str, other: str, column: str) -> Difference | None:
        """``row − other``, paired by seed; ``None`` if one of them was not measured."""
        ours, theirs = self.cells.get((row, column)), self.cells.get((other, column))
        return None if ours is None or theirs is None else paired_difference(ours, theirs, method=self.method)

    @cached_property
    def _differences(self) -> Mapping[tuple[str, str], Difference]:
        """The difference of every row from the reference, by row and column."""
        return {
            (row, column): difference
            for column in self.columns
            for row in self.rows
            if row != self.reference
            and (difference := self.difference(row, self.reference, column)) is not None
        }

    def differences(self) -> list[tuple[str, str, Difference]]:
        """``(column, row, difference)`` of every row from the reference."""
        return [(column, row, difference) for (row, column), difference in self._differences.items()]

    def lead(self, column: str) -> Lead | None:
        """The best row of a column; ``None`` if no direction is better or fewer than two means are finite."""
        better = look(column).better
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
        return self._leads

    @cached_property
    def _leads(self) -> list[Lead]:
        return [lead for column in self.columns if (lead := self.lead(column)) is not None]

    def grids(self) -> list[Grid]:
        """The cells, and the differences from the reference if there are any."""
        return [self._grid(), self._difference_grid()] if self._differences else [self._grid()]

    def notes(self, *, verbose: bool = False) -> list[str]:
        """The sentences below the table; ``verbose`` as in :meth:`text`."""
        return [*self._essentials(), *(self._details() if verbose else [])]

    def text(self, *, verbose: bool = False) -> str:
        """The table, the differences and the notes for a terminal of 80 columns.

        Args:
            verbose: Whether to add what each difference is worth, the leads, outliers and sampling errors.
        """
        grids = self.grids()
        if any(grid.width > WIDTH for grid in grids):
            grids = [grid.transposed() for grid in grids]
        return "\n\n".join([*(grid.text(width=WIDTH) for grid in grids), folded(self.notes(verbose=verbose))])

    def _repr_html_(self) -> str:
        notes = (f"<p>{for_html(note)}</p>" for note in self.notes())
        return "".join([*(grid.html() for grid in self.grids()), *notes])

    def markdown(self, *, verbose: bool = False) -> str:
        """Pipe tables of the cells and of the differences, with the notes. A clear lead is bold."""
        notes = map(for_markdown, self.notes(verbose=verbose))
        return "\n\n".join([*(grid.markdown() for grid in self.grids()), *notes])

    def latex(self, *, venue: str = "neurips", verbose: bool = False) -> str:
        """A float that fits the page of a venue, with ``booktabs`` tabulars, marks, a caption and notes.

        Args:
            venue: A name in :data:`landscape.registry.venues.VENUES`.
            verbose: Whether the notes have the sentences that are otherwise comments of the source.
        """
        notes, details = self._notes(), self._details()
        if any(lead.is_clear for lead in self.leads()):
            notes.append("bold: best, and the paired 95 % interval excludes the runner-up")
        about = self._about()
        caption = f"{breakable(about[0].upper() + about[1:]).replace('n =', '$n$ =', 1)}."
        names = (each.symbol_of.replace("-", " ").replace("hessian", "Hessian") for each in self._symbols())
        heads = (each.latex for each in self._symbols())
        if symbols := ", ".join(map(" ".join, zip(heads, names, strict=True))):
            caption += f" {symbols}."
        page = page_of(venue)
        return self._grid([*notes, *(details if verbose else [])], marked=True).latex(
            caption, column=page.column, text=page.text, comments=() if verbose else details
        )

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
            judgement = {"clear": lead.is_clear, "words": self.in_words(lead)}
            leads.append({**rows, **judgement, **_difference_dict(lead.difference)})
        differences = [
            {self.heading: row, "measure": column, **_difference_dict(difference)}
            for column, row, difference in self.differences()
        ]
        head = {"rows": self.heading, "measured_on": self.measured_on, "reference": self.reference}
        interval = {"level": 0.95, "method": self.method}
        parts = {"cells": cells, "differences": differences, "leads": leads}
        return {**head, "interval": interval, **parts, "notes": self.notes(verbose=True)}

    def _grid(self, notes: Sequence[str] = (), *, marked: bool = False) -> Grid:
        """The means; ``marked`` with the marks of their verdicts."""
        most = max(len(cell.values) for cell in self.cells.values())
        clear = {(lead.row, lead.column) for lead in self.leads() if lead.is_clear}

        def number(row: str, column: str) -> Number | None:
            cell = self.cells.get((row, column))
            if cell is None:
                return None
            factor, spread = look(column).factor, cell.spread
            text = rounded(factor * cell.mean, None if spread is None else factor * spread)
            if spread == 0:  # rounded() omits it, but here it says that the runs agree
                text += " ± 0"
            text = text.replace("-", "−")  # as in the intervals below
            n = None if len(cell.values) == most else len(cell.values)
            difference = self._differences.get((row, column)) if marked else None
            mark = "" if difference is None else verdict(difference).mark
            return Number(text, cell.converged, n, bold=(row, column) in clear, mark=mark)

        return Grid(
            [self.heading, *self.headings.values()],
            [[self.label(row), *(number(row, column) for column in self.columns)] for row in self.rows],
            notes,
            [for_latex(self.heading), *(look(column).latex for column in self.columns)],
            ["", *self._splits],
        )

    def _difference_grid(self) -> Grid:
        """The differences from the reference, with the marks of their verdicts."""
        most = max(difference.interval.n for difference in self._differences.values())

        def number(row: str, column: str) -> Number | None:
            difference = self._differences.get((row, column))
            if difference is None:
                return None
            text, pairs = _with_interval(difference, look(column).factor), difference.interval.n
            n, mark = None if pairs == most else pairs, verdict(difference).mark
            return Number(text, difference.converged, n, mark=mark)

        rows = [row for row in self.rows if row != self.reference]
        return Grid(
            [f"Δ from {self.label(self.reference)}", *self.headings.values()],
            [[self.label(row), *(number(row, column) for column in self.columns)] for row in rows],
        )

    def _about(self) -> str:
        """The kind of the numbers: mean, spread, count and data."""
        counts = {len(cell.values) for cell in self.cells.values()}
        seeds = f"n = {counts.pop()}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
        where = f"; {self.measured_on}" if self.measured_on else ""
        return f"mean ± standard deviation over runs, {seeds}{where}"

    def _symbols(self) -> list[Look]:
        """The measures whose heading is a symbol, each once."""
        looks = {measure: look(measure) for column in self.columns if (measure := look(column).symbol_of)}
        return list(looks.values())

    def _essentials(self) -> list[str]:
        """The essential notes: numbers, symbols, marks and reservations."""
        symbols = ", ".join(f"{each.heading} {each.symbol_of}" for each in self._symbols())
        return [self._about(), *([symbols] if symbols else []), *self._notes()]

    def _notes(self) -> list[str]:
        """The meaning of the marks, and the numbers to be read with reservation."""
        unconverged = not all(cell.converged for cell in self.cells.values())
        dagger = ["† not converged in at least one run"] if unconverged else []
        return [*self._legend(), *dagger, *self._not_finite(), *self.remarks]

    def _legend(self) -> Iterator[str]:
        """The marks in the table and their meaning."""
        verdicts = [verdict(difference) for difference in self._differences.values()]
        if not verdicts:
            return
        decided = [f"{each.mark} {each.kind}" for each in verdicts if each.is_decided]
        parts = [f"{' '.join(dict.fromkeys(decided))} (the interval excludes 0)"] if decided else []
        needed = [each.seeds_needed or math.inf for each in verdicts if each.kind == "undecided"]
        if needed:
            ends = ["over 1000" if end == math.inf else f"{end}" for end in (min(needed), max(needed))]
            parts.append(f"≈ indistinguishable ({' to '.join(dict.fromkeys(ends))} seeds needed)")
        for mark in ("=", "?"):
            # Each difference has its own sampling error, which is left out of the legend.
            words = dict.fromkeys(
                re.sub(r" error \S+:", " error:", v.words) for v in verdicts if v.mark == mark
            )
            parts += [f"{mark} {'; '.join(words)}"] if words else []
        kind = {"t": "t", "bootstrap": "bootstrap (BCa)"}[self.method]
        paired = f"difference from {self.label(self.reference)}, paired by seed, 95 % {kind} interval"
        yield f"{paired}: {', '.join(parts)}"

    def _details(self) -> list[str]:
        """Sampling errors, outliers, what chance alone would give, and the leads."""
        sampled = []
        for column in self.columns:
            errors = [e for (_, name), c in self.cells.items() if name == column and (e := c.monte_carlo)]
            if errors:
                sampled.append(f"{self.headings[column]} {look(column).factor * max(errors):.2g}")
        notes = [f"standard error of the means from sampling alone, at most: {', '.join(sampled)}"]
        count = len(self._differences)
        chance = [f"of {count} intervals, about {0.05 * count:.1f} exclude 0 by chance alone"]
        leads = map(self.in_words, self.leads())
        sentences = [*self._sentences(), *(chance if count else []), *leads, *self._outliers()]
        return sentences + (notes if sampled else [])

    def _sentences(self) -> Iterator[str]:
        """Every difference from the reference, with its verdict in words."""
        reference = self.label(self.reference)
        for (row, column), difference in self._differences.items():
            number = _with_interval(difference, look(column).factor)
            words = f"{number}, n = {difference.interval.n}: {verdict(difference).words}"
            yield f"{self.headings[column]}: {self.label(row)} minus {reference} {words}"

    def _not_finite(self) -> Iterator[str]:
        """The runs because of which a mean is not finite, and the mean without them."""
        for (row, column), cell in self.cells.items():
            if cell.not_finite:
                seeds = ", ".join(map(str, cell.not_finite))
                left = [v for v in cell.values if abs(v) < float("inf")]
                rest = Cell(tuple(look(column).factor * v for v in left))
                others = f"; the other {len(left)}: {rounded(rest.mean, rest.spread)}" if left else ""
                yield f"{self.headings[column]} is not finite in {self.label(row)} seed {seeds}{others}"

    def _outliers(self) -> Iterator[str]:
        for (row, column), cell in self.cells.items():
            place = outlying(cell.values)
            if place is not None:
                seed = cell.seeds[place] if cell.seeds else place
                value = look(column).factor * cell.values[place]
                where = f"{self.label(row)} seed {seed} is an outlier in {self.headings[column]}"
                yield f"{where}: {value:.4g} ({RULE}); it is in the mean"

    def in_words(self, lead: Lead) -> str:
        """The best row of a column, and what its lead is worth."""
        appearance, runner_up = look(lead.column), self.label(lead.runner_up)
        word = {"higher": "highest", "lower": "lowest", None: ""}[appearance.better]
        start = f"{self.headings[lead.column]}: {self.label(lead.row)} is {word}"
        if lead.is_clear:
            difference = _with_interval(lead.difference, appearance.factor)
            return f"{start}, distinguishable from {runner_up} ({difference})"
        if lead.verdict.is_decided:
            return f"{start}, but not all runs have converged"
        return f"{start}; {runner_up} is next: {lead.verdict.words}"


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
