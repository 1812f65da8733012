"""Reads what is drawn, recognised by its content: surfaces, records of measures, and histories of runs."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from landscape.errors import InputError, Remark
from landscape.records import RunFolder, read_lines, run_folders
from landscape.records.estimate import Estimate
from landscape.records.run_folder import HISTORY, MEASURES, MEASURES_HISTORY, During, Lines
from landscape.records.surface import Surface
from landscape.surfaces.foreign import HDF5, from_landscaper, from_loss_landscape, is_landscaper

_DRAWN = "surfaces (.npz, .h5), measures.jsonl, history.jsonl and the folders of runs can be drawn"
_FILES = (HISTORY, MEASURES_HISTORY, MEASURES)


@dataclass(frozen=True, eq=False)
class Run:
    """A run: the lines of its history, and what was measured during training and at its end.

    A run of a loop that counts no epochs (``by_step``) has the step in their place.

    Its label is the optimizer if that is known, otherwise the name of the folder.
    """

    path: Path
    label: str
    epochs: tuple[Mapping[str, float], ...] = ()
    measured: tuple[During, ...] = ()
    records: tuple[Estimate, ...] = ()
    by_step: bool = False


def read_source(path: Path) -> list[Surface | Run]:
    """What can be drawn of a file, of the folder of a run, or of a folder of such folders. No code is run.

    Raises:
        InputError: There is nothing that can be drawn; the message says what there is instead.
    """
    if path.is_dir():
        folders = run_folders(path, files=_FILES)
        if not folders and not run_folders(path):
            raise InputError(f"{path} is a folder without a run in it; {_DRAWN}")
        runs = [_run(folder) for folder in folders or run_folders(path)]
        drawn = [run for run in runs if run.epochs or run.measured or run.records]
        for run in runs:
            if run not in drawn:  # in a sweep that is half done
                warnings.warn(
                    f"{run.path} is left out: it has no history and no record yet", Remark, stacklevel=2
                )
        return list(drawn)
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_DRAWN}")
    # By its first bytes, because files are renamed and tools share suffixes.
    try:
        with path.open("rb") as file:
            start = file.read(8)  # the longest signature, that of HDF5
    except OSError as failure:
        raise InputError(f"{path} cannot be read: {failure.strerror}") from None
    if not start:
        raise InputError(f"{path} is empty (0 bytes): the program that wrote it did not finish; {_DRAWN}")
    if start == HDF5:
        return [from_loss_landscape(path)]
    if start.startswith((b"PK", b"\x93NUMPY")):  # .npz is a zip archive
        return [from_landscaper(path) if is_landscaper(path) else Surface.load(path)]
    if start.startswith(b"{"):
        lines = _lines(path)
        recipes = (e.provenance.recipe for e in (*lines.estimates, *(each.estimate for each in lines.during)))
        optimizer = next(
            (str(recipe["optimizer"]) for recipe in recipes if recipe and "optimizer" in recipe), None
        )
        label = optimizer or RunFolder(path.parent).label()
        return [Run(path, label, lines.epochs, lines.during, lines.estimates, lines.by_step)]
    raise InputError(f"{path} is not a surface, a record or a history: it begins with {start!r}; {_DRAWN}")


def _run(folder: RunFolder) -> Run:
    parts = [read_lines(folder.path / name) for name in _FILES if (folder.path / name).is_file()]
    return Run(
        path=folder.path,
        label=folder.label(),
        epochs=tuple(entry for part in parts for entry in part.epochs),
        measured=tuple(each for part in parts for each in part.during),
        records=tuple(record for part in parts for record in part.estimates),
        by_step=any(part.by_step for part in parts),
    )


def _lines(path: Path) -> Lines:
    lines = read_lines(path)
    if not (lines.epochs or lines.during or lines.estimates):
        raise InputError(f"{path} holds no line of a history and no record of a measure; {_DRAWN}")
    return lines
