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

from landscape.tables.escaping import for_csv, for_latex, for_markdown, for_terminal, visible
from landscape.tables.typesetting import ABSENT, aligned, blocks, folded, width_of


@dataclass(frozen=True)
class Number:
    """A formatted number, such as ``"35.2 ± 2.7"`` from :func:`rounded`, which LaTeX sets as mathematics.

    Attributes:
        text: The number with its error.
        converged: Whether it has converged; a dagger marks a number that has not.
        n: The number of values behind it, shown if given.
        bold: Whether Markdown and LaTeX set it in bold.
    """

    text: str
    converged: bool = True
    n: int | None = None
    bold: bool = False

    def __str__(self) -> str:
        return self.text + ("" if self.converged else "†") + ("" if self.n is None else f" (n={self.n})")

    def latex(self) -> str:
        """The number in LaTeX's mathematics; a missing one stays a dash."""
        if self.text == ABSENT:
            return "--"
        number = self.text.replace("−", "-").replace("±", r"\pm").replace("NaN", r"\mathrm{NaN}")
        # Python writes 1e-07 and 1e+20, rounded() a factored power as (1.5 ± 0.2)e-9.
        number = re.sub(r"e\+?(-?)0*(\d+)$", r" \\times 10^{\1\2}", number).replace("inf", r"\infty")
        number = rf"\mathbf{{{number}}}" if self.bold else number
        count = "" if self.n is None else rf"\,(n{{=}}{self.n})"
        return "$" + number + ("" if self.converged else r"^\dagger") + count + "$"


Content = str | int | float | Number | None
"""What a cell may be. ``None`` is a missing value: a dash, or an empty cell of CSV."""


@dataclass(frozen=True)
class Grid:
    """A table before it is rendered. Strings are plain text; every renderer escapes them for its medium.

    Attributes:
        head: Column headings.
        rows: Cells, as many in each row as there are headings.
        notes: Sentences below the table; comments in LaTeX.
        latex_head: LaTeX source of the headings; by default the escaped ``head``.
        bold: Meaning of bold numbers, in a comment of the LaTeX source.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Content]]
    notes: Sequence[str] = ()
    latex_head: Sequence[str] = ()
    bold: str = ""

    def text(self, *, width: int | None = None) -> str:
        """Aligned columns with the notes below.

        Args:
            width: Characters that a line may have. A wider table is transposed, then cut into blocks of columns,
                and long notes are folded. ``None`` for no limit.
        """
        lines = [[_shown(cell) for cell in row] for row in (self.head, *self.rows)]
        if width is not None and width_of(lines) > width:
            lines = [list(column) for column in zip(*lines, strict=True)]
        tables = [lines] if width is None else blocks(lines, width)
        notes = folded(self.notes, width) if self.notes else ""
        return "\n\n".join([*map(aligned, tables), *([notes] if notes else [])])

    def markdown(self) -> str:
        """A pipe table, and each note as a paragraph."""
        rows = [[_markdown(cell) for cell in row] for row in (self.head, *self.rows)]
        rows.insert(1, ["---"] * len(self.head))
        table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return "\n\n".join([table, *map(for_markdown, self.notes)])

    def latex(self) -> str:
        """A ``booktabs`` tabular, after the notes as comments."""
        heads = self.latex_head or [*map(for_latex, self.head)]
        lines = [
            rf"% needs \usepackage{{booktabs}}{'; bold: ' + self.bold if self.bold else ''}",
            *(f"% {visible(note)}" for note in self.notes),
            rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(map(_latex, row)) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines)

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


def _latex(cell: Content) -> str:
    if cell is None:
        return "--"
    return cell.latex() if isinstance(cell, Number) else for_latex(_shown(cell))


def _csv(cell: Content) -> str:
    if isinstance(cell, float):
        return repr(cell)  # repr gives the shortest text that reads back as the same number
    return "" if cell is None else for_csv(cell)
