"""A comparison as a booktabs tabular: bold only where the interval excludes the runner-up."""

import re

from landscape.comparison.as_text import body, spread_number
from landscape.comparison.cell import Cell
from landscape.comparison.notes import bracketed, chance, notes, sentence
from landscape.comparison.table import Table
from landscape.comparison.verdict import verdict
from landscape.tables.escaping import for_latex, visible


def as_latex(table: Table) -> str:
    """The tabular, and as comments what belongs in its caption; it needs the package booktabs."""
    heads = [for_latex(table.heading)]
    for column in table.columns:
        look = table.look(column)
        heads.append(look.latex or for_latex(look.heading))
    lines = body(table, _shown, "--")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}; bold: the paired 95 % interval excludes the runner-up",
            *(f"% {note}" for note in _comments(table)),
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join([for_latex(line[0]), *line[1:]]) + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _comments(table: Table) -> list[str]:
    found = notes(table)
    for column, row, d in table.differences():
        look = table.look(column)
        numbers = bracketed(d, look.factor)
        found.append(
            f"{look.heading}: {row} minus {table.reference} {numbers}, n = {d.interval.n}: {verdict(d).words}"
        )
    if table.differences():
        found.append(chance(table))
    return [visible(text) for text in [*found, *(sentence(table, lead) for lead in table.leads())]]


def _shown(table: Table, column: str, cell: Cell) -> str:
    number = spread_number(table, column, cell).replace("±", r"\pm").replace("NaN", r"\mathrm{NaN}")
    power = r"e([+-])?0*(\d+)$"
    number = re.sub(power, lambda m: rf" \times 10^{{{m[1] or ''}{m[2]}}}".replace("+", ""), number)
    number = number.replace("inf", r"\infty")
    lead = table.lead(column)
    if lead is not None and lead.is_clear and table.cells[lead.row, column] is cell:
        number = rf"\mathbf{{{number}}}"
    most = max(len(other.values) for other in table.cells.values())
    count = "" if len(cell.values) == most else rf"\,(n{{=}}{len(cell.values)})"
    return "$" + number + ("" if cell.converged else r"^\dagger") + count + "$"
