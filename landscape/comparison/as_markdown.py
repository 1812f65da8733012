"""A comparison as pipe tables."""

from collections.abc import Sequence

from landscape.comparison.as_text import ABSENT, body, difference_lines, shown
from landscape.comparison.cell import Cell
from landscape.comparison.notes import chance, notes, sentence
from landscape.comparison.table import Table
from landscape.tables.escaping import for_markdown


def as_markdown(table: Table) -> str:
    """The table, the differences and the sentences; a lead is bold where it is clear."""
    head = [table.heading, *(table.look(column).heading for column in table.columns)]
    lines = [[for_markdown(row), *cells] for row, *cells in body(table, _shown, ABSENT)]
    parts = [_piped(head, lines), *map(for_markdown, notes(table))]
    if table.differences():
        head = ["measure", table.heading, f"difference from {table.reference}", "n", "verdict"]
        parts += [
            _piped(head, [[*map(for_markdown, line)] for line in difference_lines(table)]),
            chance(table),
        ]
    parts += [for_markdown(sentence(table, lead)) for lead in table.leads()]
    return "\n\n".join(parts)


def _shown(table: Table, column: str, cell: Cell) -> str:
    lead = table.lead(column)
    clear = lead is not None and lead.is_clear and table.cells[lead.row, column] is cell
    return f"**{shown(table, column, cell)}**" if clear else shown(table, column, cell)


def _piped(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [[*map(for_markdown, head)], ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
