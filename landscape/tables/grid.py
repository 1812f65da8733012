"""A table as neutral cells with notes, rendered as aligned text, Markdown, LaTeX and CSV.

Example::

    grid = Grid(["run", "loss"], [["sam-0", Number(rounded(0.21, 0.03))]], notes=["mean ± standard error"])
    print(grid.text())
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from landscape.tables.escaping import for_csv, for_html, for_latex, for_markdown, for_terminal, visible
from landscape.tables.latex import HEADING, Column, breakable, ems, heading, table_float
from landscape.tables.typesetting import ABSENT, aligned, blocks, folded, width_of


@dataclass(frozen=True)
class Number:
    """A formatted number, such as ``"35.2 ± 2.7"`` from :func:`rounded`, which LaTeX sets as mathematics.

    Attributes:
        text: The number with its error.
        converged: Whether it has converged; a dagger marks a number that has not.
        n: The number of values behind it, shown if given.
        bold: Whether Markdown and LaTeX set it in bold.
        mark: A sign behind it, a superscript in LaTeX.
    """

    text: str
    converged: bool = True
    n: int | None = None
    bold: bool = False
    mark: str = ""

    def __str__(self) -> str:
        mark = f" {self.mark}" if self.mark else ""
        count = "" if self.n is None else f" (n={self.n})"
        return self.text + ("" if self.converged else "†") + mark + count

    def latex(self) -> str:
        """The number in LaTeX's mathematics; a missing one stays a dash."""
        if self.text == ABSENT:
            return "--"
        number = self.text.replace("−", "-").replace("±", r"\pm").replace("NaN", r"\mathrm{NaN}")
        # Python writes 1e-07 and 1e+20, rounded() a factored power as (1.5 ± 0.2)e-9.
        number = re.sub(r"e\+?(-?)0*(\d+)$", r" \\times 10^{\1\2}", number).replace("inf", r"\infty")
        number = rf"$\mathbf{{{number}}}$" if self.bold else f"${number}$"
        marks = ("" if self.converged else r"\dagger") + for_latex(self.mark).strip("$")
        if self.n is not None:
            return number + (f"$^{{{marks}}}$" if marks else "") + rf"\,($n{{=}}{self.n}$)"
        # A mark takes no width, so that numbers with and without one are aligned.
        return number + (rf"\rlap{{$^{{{marks}}}$}}" if marks else "")


Content = str | int | float | Number | None
"""What a cell may be. ``None`` is a missing value: a dash, or an empty cell of CSV."""


@dataclass(frozen=True)
class Grid:
    """A table before it is rendered. Strings are plain text; every renderer escapes them for its medium.

    Attributes:
        head: Column headings.
        rows: Cells, as many in each row as there are headings.
        notes: Sentences below the table.
        latex_head: LaTeX source of the headings; by default the escaped ``head``.
        groups: For each column, a heading in LaTeX that it shares with its neighbours, or empty.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Content]]
    notes: Sequence[str] = ()
    latex_head: Sequence[str] = ()
    groups: Sequence[str] = ()

    @property
    def width(self) -> int:
        """Characters in a line of the text."""
        return width_of(self._lines())

    def transposed(self) -> "Grid":
        """The same cells with a row for each column."""
        columns = list(zip(*self.rows, strict=True))
        head = [self.head[0], *map(_shown, columns[0])]
        return Grid(
            head,
            [[name, *column] for name, column in zip(self.head[1:], columns[1:], strict=True)],
            self.notes,
        )

    def text(self, *, width: int | None = None) -> str:
        """Aligned columns with the notes below.

        Args:
            width: Characters that a line may have. A wider table is cut into blocks of columns, and long notes are
                folded. ``None`` for no limit.
        """
        lines = self._lines()
        tables = [lines] if width is None else blocks(lines, width)
        notes = folded(self.notes, width) if self.notes else ""
        return "\n\n".join([*map(aligned, tables), *([notes] if notes else [])])

    def _lines(self) -> list[list[str]]:
        return [[_shown(cell) for cell in row] for row in (self.head, *self.rows)]

    def markdown(self) -> str:
        """A pipe table, and each note as a paragraph."""
        rows = [[_markdown(cell) for cell in row] for row in (self.head, *self.rows)]
        rows.insert(1, ["---"] * len(self.head))
        table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return "\n\n".join([table, *map(for_markdown, self.notes)])

    def html(self) -> str:
        """A ``table`` element whose first column names the rows."""
        head = "".join(f'<th scope="col">{for_html(name)}</th>' for name in self.head)
        rows = []
        for row in self.rows:
            name, *cells = map(_html, row)
            rows.append(
                f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
            )
        return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"

    def latex(
        self, caption: str, *, column: float = 5.5, text: float = 5.5, comments: Sequence[str] = ()
    ) -> str:
        """A float with ``booktabs`` tabulars, which is at most as wide as the page, and the notes below them.

        Args:
            caption: LaTeX source.
            column: Width of the venue's column in inches.
            text: Width of the venue's text in inches.
            comments: Sentences for comments of the source.
        """
        heads = self.latex_head or [*map(heading, self.head)]
        groups = self.groups or [""] * len(self.head)
        columns = []
        for k, (title, head) in enumerate(zip(self.head, heads, strict=True)):
            cells = [row[k] for row in self.rows]
            width = max(min(ems(visible(title)), HEADING), *map(_ems, cells))
            columns.append(Column(head, [_latex(cell, long=k == 0) for cell in cells], width, groups[k]))
        names, *others = columns
        return table_float(
            names, others, column=column, text=text, caption=caption, notes=self.notes, comments=comments
        )

    def csv(self) -> str:
        """Comma-separated values without the notes; numbers at full precision."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([_csv(cell) for cell in row] for row in (self.head, *self.rows))
        return out.getvalue()


def json_text(value: object) -> str:
    """A value in JSON's types as indented JSON."""
    # The escapes of for_terminal are those of JSON, so that a lone surrogate can be printed and the JSON stays valid.
    return for_terminal(json.dumps(value, ensure_ascii=False, indent=1))


def _shown(cell: Content) -> str:
    return ABSENT if cell is None else f"{cell:.4g}" if isinstance(cell, float) else visible(cell)


def _markdown(cell: Content) -> str:
    text = for_markdown(_shown(cell))
    return f"**{text}**" if isinstance(cell, Number) and cell.bold else text


def _html(cell: Content) -> str:
    text = for_html(_shown(cell))
    return f"<strong>{text}</strong>" if isinstance(cell, Number) and cell.bold else text


def _latex(cell: Content, *, long: bool) -> str:
    if cell is None:
        return "--"
    if isinstance(cell, Number):
        return cell.latex()
    return breakable(_shown(cell)) if long else for_latex(_shown(cell))


def _ems(cell: Content) -> float:
    if not isinstance(cell, Number):
        return ems(_shown(cell))
    # Marks take no width, except in front of a count.
    text = cell.text if cell.n is None else str(cell)
    return ems(text.replace("-", "−"), bold=cell.bold)


def _csv(cell: Content) -> str:
    if isinstance(cell, float):
        return repr(cell)  # repr gives the shortest text that reads back as the same number
    return "" if cell is None else for_csv(cell)
