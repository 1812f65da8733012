"""A comparison as pipe tables."""

from collections.abc import Sequence

from landscape.comparison.as_text import ABSENT, body, difference_lines, shown
from landscape.comparison.cell import Cell
from landscape.comparison.notes import chance, notes, sentence
from landscape.comparison.table import Table


def as_markdown(table: Table) -> str:
    """The table, the differences and the sentences; a lead is bold where it is clear."""
    head = [table.heading, *(table.look(column).heading for column in table.columns)]
    parts = [_piped(head, body(table, _shown, ABSENT)), *notes(table)]
    if table.differences():
        head = ["measure", table.heading, f"difference from {table.reference}", "n", "verdict"]
        parts += [_piped(head, difference_lines(table)), chance(table)]
    parts += [sentence(table, lead) for lead in table.leads()]
    return "\n\n".join(parts)


def _shown(table: Table, column: str, cell: Cell) -> str:
    lead = table.lead(column)
    clear = lead is not None and lead.is_clear and table.cells[lead.row, column] is cell
    return f"**{shown(table, column, cell)}**" if clear else shown(table, column, cell)


def _piped(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)
