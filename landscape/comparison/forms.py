"""Output formats of a table and of a correlation study. A new format is a row of :data:`FORMS`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from landscape.comparison.predictors import Study
from landscape.comparison.table import Table
from landscape.errors import UsageError
from landscape.tables import json_text
from landscape.tables.escaping import visible


@dataclass(frozen=True)
class Rendering:
    """How a result is printed.

    Attributes:
        labels: ``ROW=NAME`` for rows of a table whose printed name is another than papers write.
        venue: The name of the venue whose page a LaTeX table fits, of :data:`landscape.registry.venues.VENUES`.
        verbose: Whether the sentences on every difference, leads, outliers and sampling errors are printed.
    """

    labels: Sequence[str] = ()
    venue: str = "neurips"
    verbose: bool = False

    def named(self, table: Table) -> Table:
        """The table with the names of its rows; raises :class:`UsageError` if a label is of no row."""
        names = {}
        for text in self.labels:
            # A row may contain equals signs itself: "sam:rho=0.1=SAM".
            rows = [row for row in table.rows if text.startswith(f"{row}=")]
            if not rows:
                known = ", ".join(table.rows)
                raise UsageError(f"--label {text} is not ROW=NAME with one of the rows: {known}")
            row = max(rows, key=len)
            names[row] = text[len(row) + 1 :]
        return replace(table, labels=names)


def _text(result: Table | Study, rendering: Rendering) -> str:
    return result.text(verbose=rendering.verbose) if isinstance(result, Table) else result.text()


def _markdown(result: Table | Study, rendering: Rendering) -> str:
    return result.markdown(verbose=rendering.verbose) if isinstance(result, Table) else result.markdown()


def _latex(result: Table | Study, rendering: Rendering) -> str:
    if isinstance(result, Table):
        return result.latex(venue=rendering.venue, verbose=rendering.verbose)
    return result.latex(venue=rendering.venue)


def _json_lines(result: Table | Study, rendering: Rendering) -> str:
    """A line for each cell and each difference, or for each predictor."""
    kinds = {"cells": "cell", "differences": "difference", "predictors": "predictor"}
    parts: dict[str, Any] = result.as_dict()
    lines = ({"kind": kind, **part} for name, kind in kinds.items() for part in parts.get(name, ()))
    return "\n".join(visible(json.dumps(line, ensure_ascii=False)) for line in lines)


FORMS: Mapping[str, Callable[[Table | Study, Rendering], str]] = {
    "table": _text,
    "json": lambda result, _: json_text(result.as_dict()),
    "jsonl": _json_lines,
    "csv": lambda result, _: result.csv(),
    "md": _markdown,
    "latex": _latex,
}
SUFFIXES = {".txt": "table", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
"""The format that the suffix of a file implies."""


def rendered(result: Table | Study, form: str = "table", rendering: Rendering | None = None) -> str:
    """A result in a format of :data:`FORMS`, without a line break at the end.

    Raises:
        UsageError: A label is not ``ROW=NAME``.
    """
    rendering = rendering or Rendering()
    named = rendering.named(result) if isinstance(result, Table) else result
    # Programs find a row by its own name.
    return FORMS[form](result if form in ("json", "jsonl", "csv") else named, rendering).rstrip("\n")
