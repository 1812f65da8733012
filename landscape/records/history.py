"""What happened in each epoch, one JSON line each.

The checkpoint holds the same entries, without the seconds, under its check sums: a line that was damaged is restored
from there.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.records.reading import read_bytes
from landscape.records.storage import append_line, write_whole

Entry = Mapping[str, int | float]


def append(path: Path, entry: Entry) -> None:
    """Add the line of an epoch."""
    append_line(path, json.dumps(entry, allow_nan=False))


def read(path: Path) -> tuple[Entry, ...]:
    """The epochs of a history, in order; a line that cannot be read is passed over."""
    return tuple(entry for _, entry in _lines(path) if entry is not None)


def without_seconds(entry: Entry) -> Entry:
    """What is the same for every process that computes the epoch."""
    return {name: value for name, value in entry.items() if name != "seconds"}


def restored(path: Path, known: Iterable[Entry]) -> tuple[bytes, list[int]]:
    """The content that a history should have, and the epochs whose line is damaged or missing.

    Args:
        path: The file; it need not exist.
        known: The entries of the checkpoint, without their seconds, which a restored line lacks.
    """
    lines = [(line, entry) for line, entry in _lines(path) if entry is not None and _is_whole(entry)]
    content, lost = b"", []
    for expected in known:
        line = next((line for line, entry in lines if without_seconds(entry) == expected), None)
        if line is None:
            lost.append(int(expected["epoch"]))
            line = json.dumps(expected, allow_nan=False).encode()
        content += line + b"\n"
    return content, lost


def restore(path: Path, known: Sequence[Entry]) -> list[int]:
    """Make a history that of the checkpoint; returns the epochs whose line had to be made again."""
    content, lost = restored(path, known)
    if content != (path.read_bytes() if path.is_file() else b""):
        write_whole(path, content)
    return lost


def truncate(path: Path, epochs: int) -> int:
    """Drop the lines of epochs after the first ``epochs``: they will be run again.

    Returns:
        How many lines cannot be read. They stay; only one that breaks off at the end of the file is dropped.
    """
    if not path.is_file():
        return 0
    kept, unreadable = b"", 0
    for line, entry in _lines(path):
        if entry is None:
            unreadable += 1
        if entry is None or entry["epoch"] <= epochs:
            kept += line + b"\n"
    if kept != path.read_bytes():
        write_whole(path, kept)
    return unreadable


def shortest(count: float) -> int | float:
    """A count in thirds and shares, without what adding them up has rounded."""
    rounded = round(count, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Each line with its entry, ``None`` where it cannot be read; without one that breaks off at the end."""
    *lines, torn = read_bytes(path).split(b"\n") if path.is_file() else [b""]
    for line in [*lines, *([torn] if _entry(torn) is not None else [])]:
        if line.strip():
            yield line, _entry(line)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return entry if isinstance(entry, dict) and type(entry.get("epoch")) is int else None


def _is_whole(entry: Mapping[str, Any]) -> bool:
    seconds = entry.get("seconds", 0.0)
    return type(seconds) in (int, float) and 0 <= seconds < 1e15
