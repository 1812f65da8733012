"""A comparison in JSON's types: unrounded, with every run's number."""

from landscape.comparison.notes import notes, sentence
from landscape.comparison.paired import Difference
from landscape.comparison.table import Table
from landscape.comparison.verdict import verdict
from landscape.records.json_lines import plain


def as_dict(table: Table) -> dict[str, object]:
    """Everything that the table knows."""
    return {
        "rows": table.heading,
        "measured_on": table.measured_on,
        "reference": table.reference,
        "interval": {"level": 0.95, "method": table.method},
        "cells": [
            {
                table.heading: row,
                "measure": column,
                "mean": plain(cell.mean),
                "std": plain(cell.spread),
                "monte_carlo_error": plain(cell.monte_carlo),
                "n": len(cell.values),
                "converged": cell.converged,
                "values": plain(cell.values),
                "errors": plain(cell.errors),
                "seeds": plain(cell.seeds),
            }
            for (row, column), cell in table.cells.items()
        ],
        "differences": [
            {table.heading: row, "measure": column, **_difference(found)}
            for column, row, found in table.differences()
        ],
        "leads": [
            {
                "measure": lead.column,
                table.heading: lead.row,
                "runner_up": lead.runner_up,
                "clear": lead.is_clear,
                "words": sentence(table, lead),
                **_difference(lead.difference),
            }
            for lead in table.leads()
        ],
        "notes": notes(table),
    }


def _difference(found: Difference) -> dict[str, object]:
    interval = found.interval
    return {
        "difference": plain(interval.mean),
        "low": plain(interval.low),
        "high": plain(interval.high),
        "std": plain(interval.spread),
        "n": interval.n,
        "seeds": plain(found.seeds),
        "monte_carlo_error": plain(found.monte_carlo),
        "verdict": verdict(found).kind,
    }
