"""Reads what a report shows: runs with their records, and the surfaces around their checkpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from landscape.comparison.alike import row_label
from landscape.comparison.runs import MeasuredRun, RunSet, find_runs
from landscape.errors import InputError
from landscape.plotting.sources import Run, read_source
from landscape.records import RunFolder, read_lines, run_folders
from landscape.records.reading import array_names
from landscape.records.run_folder import WEIGHT_SUFFIXES
from landscape.records.surface import Surface

_SURFACES = (".npz", ".h5")


@dataclass(frozen=True)
class Material:
    """What lies on disk.

    Attributes:
        places: The paths that were named, without surfaces.
        found: The runs as a comparison reads them.
        runs: The same as they are drawn, with those that are not finished.
        surfaces: Surfaces by their files.
        remarks: What is left out, and why.
    """

    places: tuple[Path, ...]
    found: RunSet
    runs: tuple[Run, ...]
    surfaces: tuple[tuple[Path, Surface], ...]
    remarks: tuple[str, ...]


def read_material(paths: Sequence[Path], rows: Sequence[str]) -> Material:
    """What some run folders, folders of them, checkpoints, files of records and surfaces hold.

    Surfaces in and beside the folders are found by the checkpoints that they are about.

    Args:
        paths: The paths.
        rows: The recipe fields that name a run in figures.

    Raises:
        InputError: A path does not exist or holds nothing that can be shown.
    """
    places = tuple(_with_runs(path) for path in paths if path.suffix not in _SURFACES)
    named = [(path, _surface(path)) for path in paths if path.suffix in _SURFACES]
    for path in places:
        if not path.exists():
            raise InputError(f"{path} does not exist; train it first: landscape train -o {path}")
    found, remarks = RunSet((), (), 0), list[str]()
    runs: dict[Path, Run] = {}
    try:
        found = find_runs(places) if places else found
    except InputError as failure:  # unfinished, or of a tracker: its curves can be shown all the same
        remarks.append(f"no table: {failure}")
    for path in places:
        for run in _runs(path, found):
            runs[run.path.resolve()] = _relabelled(run, rows)
    known = {path.resolve() for path, _ in named}
    surfaces = [*named, *(pair for pair in _around(places, found, runs) if pair[0].resolve() not in known)]
    if not runs and not surfaces:
        raise InputError(remarks[0].removeprefix("no table: ") if remarks else "there is nothing to report")
    return Material(places, found, tuple(runs.values()), tuple(surfaces), (*found.remarks, *remarks))


def _with_runs(path: Path) -> Path:
    """The folder itself, or the folder ``runs`` in that of ``landscape demo``."""
    below = path / "runs"
    return below if below.is_dir() and not run_folders(path) and run_folders(below) else path


def _surface(path: Path) -> Surface:
    [source] = read_source(path)
    if not isinstance(source, Surface):
        raise InputError(f"{path} is not a surface")
    return source


def _runs(path: Path, found: RunSet) -> Iterator[Run]:
    """The runs at a place as they are drawn."""
    if path.suffix in WEIGHT_SUFFIXES:
        for run in found.runs:
            if run.checkpoint is not None and run.checkpoint.resolve() == path.resolve():
                yield _drawn(run)
    else:
        yield from (source for source in read_source(path) if isinstance(source, Run))


def _drawn(run: MeasuredRun) -> Run:
    folder = RunFolder(run.path if run.path.is_dir() else run.path.parent)
    measured = read_lines(folder.measures_history).during if run.path.is_dir() else ()
    label = str((run.recipe or {}).get("optimizer", run.path.stem))
    return Run(run.path, label, epochs=tuple(run.history), measured=measured, records=run.estimates)


def _relabelled(run: Run, rows: Sequence[str]) -> Run:
    """The run with the label of its row, so that runs of other settings are not averaged with it."""
    recipe = RunFolder(run.path).read_recipe() if run.path.is_dir() else None
    if recipe is None and run.records:
        recipe = run.records[0].provenance.recipe
    known = recipe is not None and all(name in recipe for name in rows)
    return replace(run, label=row_label(recipe, rows)) if recipe is not None and known else run


def _around(places: Sequence[Path], found: RunSet, runs: dict[Path, Run]) -> Iterator[tuple[Path, Surface]]:
    """The surfaces in and beside some folders that are about the checkpoints of the runs."""
    digests = {run.digest for run in found.runs} - {None}
    folders = {path.resolve(): None for path in runs if path.is_dir()}
    for path in places:
        inside = path if path.is_dir() else path.parent
        folders |= dict.fromkeys((inside.resolve(), inside.resolve().parent))
        folders |= {folder.path.resolve(): None for folder in run_folders(inside)}
    files = (file for folder in folders for file in sorted(folder.glob("*.npz")))
    for file in dict.fromkeys(files):
        if not {"x", "y", "loss", "meta"} <= set(array_names(file)):
            continue  # another program's file
        try:
            surface = Surface.load(file)
        except InputError:
            continue
        if _checkpoint(surface) in digests:
            yield file, surface


def _checkpoint(surface: Surface) -> str | None:
    origin = surface.meta.get("provenance")
    return str(origin.get("checkpoint")) if isinstance(origin, dict) else None
