"""What a table or a correlation study can be printed as. A new form is a row in each."""

import json
from collections.abc import Callable, Mapping

from landscape.comparison.predictors import Study
from landscape.comparison.study_forms import study_csv, study_dict, study_latex, study_markdown, study_text
from landscape.comparison.table import Table
from landscape.tables.escaping import for_terminal

TABLE: Mapping[str, Callable[[Table], str]] = {
    "table": Table.text,
    "json": lambda table: _json(table.as_dict()),
    "csv": Table.csv,
    "md": Table.markdown,
    "latex": Table.latex,
}
STUDY: Mapping[str, Callable[[Study], str]] = {
    "table": study_text,
    "json": lambda study: _json(study_dict(study)),
    "csv": study_csv,
    "md": study_markdown,
    "latex": study_latex,
}
SUFFIXES = {".txt": "table", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""Which form a file's name asks for."""


def _json(fields: dict[str, object]) -> str:
    # The escapes of a terminal are those of JSON: the names stay, and text that no encoding has can be written.
    return for_terminal(json.dumps(fields, ensure_ascii=False, indent=1))
