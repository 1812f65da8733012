"""The history of a run: one JSON line per epoch.

The checkpoint holds the same entries, without the seconds, under its check sums, so a damaged line can be restored.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.records.reading import read_bytes
from landscape.records.storage import append_line, write_whole

Entry = Mapping[str, int | float]


def append(path: Path, entry: Entry) -> None:
    """Adds the line of an epoch."""
    append_line(path, json.dumps(entry, allow_nan=False))


def read(path: Path) -> tuple[Entry, ...]:
    """The entries of a history, in order; unreadable lines are skipped."""
    return tuple(entry for _, entry in _lines(path) if entry is not None)


def without_seconds(entry: Entry) -> Entry:
    """The part of an entry that is the same whichever process computes the epoch."""
    return {name: value for name, value in entry.items() if name != "seconds"}


def restored(path: Path, known: Iterable[Entry]) -> tuple[bytes, list[int]]:
    """The content that a history should have, and the epochs whose line is damaged or missing.

    Args:
        path: The file; it need not exist.
        known: The entries in the checkpoint, without their seconds; restored lines lack them, too.
    """
    lines = [(line, entry) for line, entry in _lines(path) if entry is not None and _has_valid_seconds(entry)]
    content, lost = b"", []
    for expected in known:
        line = next((line for line, entry in lines if without_seconds(entry) == expected), None)
        if line is None:
            lost.append(int(expected["epoch"]))
            line = json.dumps(expected, allow_nan=False).encode()
        content += line + b"\n"
    return content, lost


def restore(path: Path, known: Sequence[Entry]) -> list[int]:
    """Replaces a history by that of the checkpoint; returns the epochs whose line was damaged or missing."""
    content, lost = restored(path, known)
    if content != (path.read_bytes() if path.is_file() else b""):
        write_whole(path, content)
    return lost


def truncate(path: Path, *, epochs: int, steps: int) -> int:
    """Removes the lines of later epochs or steps, which will be computed again, and a torn last line.

    Returns:
        The number of other unreadable lines, which stay.
    """
    lines = list(_lines(path))

    def stays(entry: Entry) -> bool:
        # A line within an epoch is of a part of it, and may be of a step that is done.
        step = entry.get("step")
        return bool(step <= steps if isinstance(step, (int, float)) else entry["epoch"] <= epochs)

    kept = b"".join(line + b"\n" for line, entry in lines if entry is None or stays(entry))
    if path.is_file() and kept != path.read_bytes():
        write_whole(path, kept)
    return sum(entry is None for _, entry in lines)


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Each line with its entry, or ``None`` if it is unreadable; a torn last line is left out."""
    *lines, last = read_bytes(path).split(b"\n") if path.is_file() else [b""]
    # A process can be killed between the last character of a line and its end.
    if _entry(last) is not None:
        lines.append(last)
    for line in lines:
        if line.strip():
            yield line, _entry(line)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    if not isinstance(entry, dict):
        return None
    kinds = (int, float) if "measure" in entry else (int,)  # only measures are taken within an epoch
    return entry if type(entry.get("epoch")) in kinds else None


def _has_valid_seconds(entry: Mapping[str, Any]) -> bool:
    # The checkpoint does not hold the seconds, so a flipped bit in them shows only in an impossible value.
    seconds = entry.get("seconds", 0.0)
    return type(seconds) in (int, float) and 0 <= seconds < 1e15
