"""What lies on disk, read and written without torch: estimates, run folders, histories and surfaces."""

from landscape.records.estimate import Cost, Estimate, Provenance
from landscape.records.json_lines import (
    SCHEMA,
    Records,
    agree,
    append,
    epoch_numbers,
    find,
    from_json,
    is_number,
    json_schema,
    outdated,
    read,
    to_json,
)

__all__ = [
    "SCHEMA",
    "Cost",
    "Estimate",
    "Provenance",
    "Records",
    "agree",
    "append",
    "epoch_numbers",
    "find",
    "from_json",
    "is_number",
    "json_schema",
    "outdated",
    "read",
    "to_json",
]
