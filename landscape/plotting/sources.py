"""What a file holds, found by its content: a surface, records of measures, or the history of a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from landscape import records
from landscape.errors import InputError
from landscape.records.estimate import Estimate
from landscape.records.reading import read_text, read_toml
from landscape.records.surface import Surface
from landscape.surfaces.foreign import HDF5, from_landscaper, from_loss_landscape, is_landscaper

_DRAWN = "drawn are surfaces (.npz, .h5), measures.jsonl, history.jsonl and the folders of runs"


@dataclass(frozen=True, eq=False)
class Run:
    """A run as its folder tells of it.

    Attributes:
        path: The folder, or the one file that was given.
        label: The optimizer, where the run says; else the name of the folder.
        epochs: The lines of its history.
        measured: What was measured on the way, with the epoch.
        records: What was measured of the finished network.
    """

    path: Path
    label: str
    epochs: tuple[Mapping[str, float], ...] = ()
    measured: tuple[tuple[float, Estimate], ...] = ()
    records: tuple[Estimate, ...] = ()


def read_source(path: Path) -> list[Surface | Run]:
    """What can be drawn of a path; nothing in a file is run.

    Args:
        path: A file, the folder of a run, or a folder of such folders.

    Raises:
        InputError: There is nothing that can be drawn: what was found instead is said.
    """
    if path.is_dir():
        folders = [path] if _is_run(path) else sorted(child for child in path.iterdir() if _is_run(child))
        if not folders:
            raise InputError(f"{path} is a folder without a run in it; {_DRAWN}")
        return [_run(folder) for folder in folders]
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_DRAWN}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as failure:
        raise InputError(f"{path} cannot be read: {failure.strerror}") from None
    if not start:
        raise InputError(f"{path} is empty (0 bytes): whatever wrote it did not finish; {_DRAWN}")
    if start == HDF5:
        return [from_loss_landscape(path)]
    if start.startswith((b"PK", b"\x93NUMPY")):
        return [from_landscaper(path) if is_landscaper(path) else Surface.load(path)]
    if start.startswith(b"{"):
        return [_lines(path)]
    raise InputError(f"{path} is not a surface, a record or a history: it begins with {start!r}; {_DRAWN}")


def _is_run(folder: Path) -> bool:
    names = ("history.jsonl", "measures-history.jsonl", "measures.jsonl")
    return folder.is_dir() and any((folder / name).is_file() for name in names)


def _run(folder: Path) -> Run:
    parts = [_lines(folder / name) for name in _FILES if (folder / name).is_file()]
    return Run(
        path=folder,
        label=_label(folder),
        epochs=tuple(entry for part in parts for entry in part.epochs),
        measured=tuple(pair for part in parts for pair in part.measured),
        records=tuple(record for part in parts for record in part.records),
    )


_FILES = ("history.jsonl", "measures-history.jsonl", "measures.jsonl")


def _lines(path: Path) -> Run:
    """The lines of a file, each taken for what it is; torn and foreign ones are passed over."""
    epochs, measured, taken = [], [], []
    for text in read_text(path).split("\n"):
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(fields, dict):
            continue
        numbers = records.epoch_numbers(text)
        if fields.get("schema") == records.SCHEMA:
            estimate = _estimate(text)
            if estimate is not None and numbers is not None:
                measured.append((float(numbers["epoch"]), estimate))
            elif estimate is not None and "epoch" not in fields:
                taken.append(estimate)
        elif numbers is not None:
            epochs.append({key: float(value) for key, value in numbers.items()})
    if not (epochs or measured or taken):
        raise InputError(f"{path} holds no line of a history and no record of a measure; {_DRAWN}")
    return Run(
        path,
        _label(path.parent, taken + [e for _, e in measured]),
        tuple(epochs),
        tuple(measured),
        tuple(taken),
    )


def _estimate(text: str) -> Estimate | None:
    try:
        return records.from_json(text)
    except InputError:
        return None


def _label(folder: Path, estimates: list[Estimate] | None = None) -> str:
    for estimate in estimates or []:
        if estimate.provenance.recipe and "optimizer" in estimate.provenance.recipe:
            return str(estimate.provenance.recipe["optimizer"])
    try:
        return str(read_toml(folder / "recipe.toml")["optimizer"])
    except (InputError, KeyError):
        return folder.resolve().name
