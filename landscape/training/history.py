"""What happened in each epoch, one JSON line each."""

import json
from collections.abc import Mapping
from pathlib import Path

from landscape.storage import append_line, write_whole

Entry = Mapping[str, int | float]


def append(path: Path, entry: Entry) -> None:
    """Add the line of an epoch."""
    append_line(path, json.dumps(entry, allow_nan=False))


def read(path: Path) -> tuple[Entry, ...]:
    """The epochs of a history, in order; a line that a killed process left half-written is passed over."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("epoch"), int):
            entries.append(entry)
    return tuple(entries)


def truncate(path: Path, epochs: int) -> None:
    """Drop the epochs after the first ``epochs``: they will be run again."""
    if not path.is_file():
        return
    kept = [entry for entry in read(path) if entry["epoch"] <= epochs]
    content = "".join(json.dumps(entry) + "\n" for entry in kept).encode()
    if content != path.read_bytes():
        write_whole(path, content)


def shortest(count: float) -> int | float:
    """A count in thirds and shares, without what adding them up has rounded."""
    rounded = round(count, 3)
    return int(rounded) if rounded == int(rounded) else rounded
