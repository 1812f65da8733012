"""A comparison on a terminal of 80 columns, or in a pipe."""

import textwrap
from collections.abc import Callable, Iterable

from landscape.comparison.cell import Cell
from landscape.comparison.notes import bracketed, chance, notes, sentence
from landscape.comparison.table import Table
from landscape.comparison.verdict import verdict
from landscape.tables.escaping import for_terminal, visible
from landscape.tables.typesetting import WIDTH, aligned, blocks, rounded, width

ABSENT = "–"


def as_text(table: Table) -> str:
    """Aligned columns, one line a row, or one a measure where that gets too wide; differences; sentences."""
    head = [visible(text) for text in (table.heading, *(table.look(c).heading for c in table.columns))]
    lines = [head, *([visible(row), *cells] for row, *cells in body(table, shown, ABSENT))]
    if width(lines) > WIDTH:
        lines = [list(column) for column in zip(*lines, strict=True)]
    parts = ["\n\n".join(aligned(block) for block in blocks(lines)), folded(notes(table))]
    if table.differences():
        parts.append("\n".join([_differences(table), folded([chance(table)])]))
    if table.leads():
        parts.append(folded(sentence(table, lead) for lead in table.leads()))
    return for_terminal("\n\n".join(parts))


def body(table: Table, show: Callable[[Table, str, Cell], str], absent: str) -> list[list[str]]:
    """The rows of the table as text."""
    return [
        [
            row,
            *(
                show(table, c, table.cells[row, c]) if (row, c) in table.cells else absent
                for c in table.columns
            ),
        ]
        for row in table.rows
    ]


def shown(table: Table, column: str, cell: Cell) -> str:
    """A cell: mean ± spread, † where unconverged, n where it is not that of the others."""
    number = spread_number(table, column, cell)
    most = max(len(other.values) for other in table.cells.values())
    count = "" if len(cell.values) == most else f" (n={len(cell.values)})"
    return number + ("" if cell.converged else "†") + count


def spread_number(table: Table, column: str, cell: Cell) -> str:
    """``mean ± spread``, also where the spread is 0."""
    factor = table.look(column).factor
    if cell.spread is None:
        return rounded(factor * cell.mean, None)
    return rounded(factor * cell.mean, factor * cell.spread) + (" ± 0" if cell.spread == 0 else "")


def folded(sentences: Iterable[str]) -> str:
    """Sentences, a line each, long ones folded and indented."""
    return "\n".join(
        textwrap.fill(visible(text), WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for text in sentences
    )


def difference_lines(table: Table) -> list[list[str]]:
    """``[column, row, difference, n, verdict]`` of every row from the reference."""
    return [
        [
            table.look(column).heading,
            row,
            bracketed(found, table.look(column).factor),
            str(found.interval.n),
            verdict(found).words + ("" if found.converged else " †"),
        ]
        for column, row, found in table.differences()
    ]


def _differences(table: Table) -> str:
    """A paragraph a column: they are long, and so are the names of optimizers."""
    lines = [[visible(cell) for cell in line] for line in difference_lines(table)]
    parts = [folded([f"Difference from {table.reference}, paired by seed:"])]
    sizes = [max(len(line[k]) for line in lines) for k in (1, 2)]
    for column in dict.fromkeys(line[0] for line in lines):
        parts.append(column)
        for _, row, number, n, words in (line for line in lines if line[0] == column):
            start = f"  {row:<{sizes[0]}}  {number:<{sizes[1]}}  n={n}"
            line = f"{start}  {words}"
            parts.append(line if len(line) <= WIDTH else f"{start}\n    {words}")
    return "\n".join(parts)
