"""A comparison as CSV: unrounded, one line a row and measure."""

import csv
import io

from landscape.comparison.table import Table
from landscape.comparison.verdict import verdict
from landscape.tables.escaping import for_csv

_HEAD = (
    *("measure", "mean", "std", "monte_carlo_error", "n", "converged"),
    *("reference", "difference", "low", "high", "pairs", "verdict"),
)


def as_csv(table: Table) -> str:
    """Mean, spread over runs, Monte-Carlo error, n, converged; the paired difference and its 95 % interval."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([for_csv(table.heading), *_HEAD])
    for row in table.rows:
        for column in table.columns:
            cell = table.cells.get((row, column))
            if cell is None:
                continue
            numbers = [_number(x) for x in (cell.mean, cell.spread, cell.monte_carlo)]
            found = None if row == table.reference else table.difference(row, table.reference, column)
            line = [for_csv(row), for_csv(column), *numbers, len(cell.values), cell.converged]
            if found is not None:
                i = found.interval
                line += [
                    for_csv(table.reference),
                    *map(_number, (i.mean, i.low, i.high)),
                    i.n,
                    verdict(found).kind,
                ]
            writer.writerow(line + [""] * (len(_HEAD) + 1 - len(line)))
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
