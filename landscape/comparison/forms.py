"""Output formats of a table and of a correlation study. A new format is a row of :data:`FORMS`."""

from collections.abc import Callable, Mapping

from landscape.comparison.predictors import Study
from landscape.comparison.table import Table
from landscape.tables import json_text

FORMS: Mapping[str, Callable[[Table | Study], str]] = {
    "table": lambda result: result.text(),
    "json": lambda result: json_text(result.as_dict()),
    "csv": lambda result: result.csv(),
    "md": lambda result: result.markdown(),
    "latex": lambda result: result.latex(),
}
SUFFIXES = {".txt": "table", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""The format that the suffix of a file implies."""
