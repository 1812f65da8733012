"""What is on disk of runs: their records, how they were trained, and whether they are finished."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape import records
from landscape.errors import InputError
from landscape.estimate import Cost, Estimate, Provenance
from landscape.reading import read_text, read_toml
from landscape.storage import sha256

MEASURES = "measures.jsonl"
_CHECKPOINT, _RECIPE, _HISTORY = "checkpoint.pt", "recipe.toml", "history.jsonl"


@dataclass(frozen=True)
class MeasuredRun:
    """A run, or a file of records that stands by itself.

    Attributes:
        path: Its folder, or the file.
        checkpoint: What can be measured; ``None`` of records that stand by themselves.
        file: Where its records are, or will be.
        estimates: The records of that checkpoint.
        history: One entry an epoch, as training wrote them.
        recipe: How it was trained, where the folder says.
        digest: Of the checkpoint.
    """

    path: Path
    checkpoint: Path | None
    file: Path
    estimates: tuple[Estimate, ...]
    history: tuple[Mapping[str, Any], ...] = ()
    recipe: Mapping[str, Any] | None = None
    digest: str | None = None

    def holds(self, record: Estimate) -> bool:
        """Whether a record is of this run's checkpoint."""
        return self.digest is not None and (record.provenance.checkpoint or "").startswith(self.digest)


@dataclass(frozen=True)
class Found:
    """What paths stand for.

    Attributes:
        runs: The finished ones.
        remarks: What was left out, and why.
        unreadable: Lines that are torn or foreign.
    """

    runs: tuple[MeasuredRun, ...]
    remarks: tuple[str, ...]
    unreadable: int


def find_runs(paths: Sequence[Path]) -> Found:
    """The runs that paths stand for: run folders, folders of them, checkpoints, files of records.

    Args:
        paths: Any of these; what is there twice counts once.

    Raises:
        InputError: A path does not exist or holds no run, or no run is finished.
    """
    places = dict.fromkeys(place for path in paths for place in _places(path))
    runs, remarks, unreadable, stale = [], [], 0, 0
    for place in places:
        unfinished = _unfinished(place) if place.is_dir() else None
        if unfinished is not None:
            remarks.append(f"{place} is left out: {unfinished}")
            continue
        run, torn, old = _read(place)
        runs.append(run)
        unreadable += torn
        stale += old
    if not runs:
        raise InputError(
            f"no run is finished: {remarks[0]}; go on with it: landscape train, as it was started"
        )
    if not any(run.estimates or run.checkpoint for run in runs):
        raise InputError(
            f"there is nothing to compare: {runs[0].path} holds neither a record nor a checkpoint; "
            "run `landscape measure` first"
        )
    if stale:
        remarks.append(f"{stale} records of other checkpoints than the runs' last are left out")
    return Found(tuple(runs), tuple(remarks), unreadable)


def require_fields(runs: Sequence[MeasuredRun], fields: Sequence[str]) -> None:
    """Raises :class:`InputError` if no recipe has a field, before anything is measured for its sake."""
    known: dict[str, None] = {}
    for run in runs:
        for recipe in (run.recipe, *(e.provenance.recipe for e in run.estimates)):
            known.update(dict.fromkeys(recipe or ()))
    for name in fields:
        if known and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f" (did you mean '{near[0]}'?)" if near else ""
            raise InputError(f"no recipe field '{name}'{guess}; there are: {', '.join(known)}")


def from_history(run: MeasuredRun, name: str, like: Provenance | None) -> Estimate | None:
    """What the history says of a finished run, as a record; ``None`` if it does not say.

    Args:
        run: Of any optimizer.
        name: One of :data:`OF_HISTORY`.
        like: The provenance of the run's other records, if there are any.
    """
    value = OF_HISTORY[name](run.history) if run.history else None
    if value is None or (like is None and run.recipe is None):
        return None
    return Estimate(
        measure=name,
        value=float(value),
        unit="1",
        standard_error=None,
        converged=None,
        settings={},
        provenance=like or _nowhere(run),
        cost=Cost(),
    )


def _nowhere(run: MeasuredRun) -> Provenance:
    """The provenance of what was measured on no data."""
    return Provenance(
        landscape="",
        torch="",
        device="",
        dtype="",
        dimension=0,
        num_examples=0,
        batch_norm="",
        checkpoint=run.digest or str(run.path),
        recipe=run.recipe,
    )


OF_HISTORY = {
    "sam-share": lambda entries: entries[-1].get("sam_fraction"),
    "gradients": lambda entries: entries[-1].get("gradients"),
    "seconds": lambda entries: sum(entry.get("seconds", 0.0) for entry in entries),
}
"""What is no measure of the network but of its training: the share of steps that evaluated more than one gradient,
gradients of a batch evaluated, seconds."""


def _places(path: Path) -> list[Path]:
    if path.is_file() or path.suffix in (".pt", ".jsonl"):
        if not path.exists():
            raise InputError(f"{path} does not exist; train it first: landscape train")
        return [path.parent if path.name == _CHECKPOINT else path]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; train it first: landscape train -o {path}")
    if _is_run(path):
        return [path]
    children = [child for child in sorted(path.iterdir()) if child.is_dir() and _is_run(child)]
    if not children:
        raise InputError(f"{path} holds no run; train one there first: landscape train -o {path}")
    return children


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MEASURES, _CHECKPOINT, _RECIPE))


def _recipe(folder: Path) -> Mapping[str, Any] | None:
    try:
        return read_toml(folder / _RECIPE)
    except InputError:
        return None


def _unfinished(folder: Path) -> str | None:
    """Why the run cannot be compared yet; ``None`` if it is finished, or does not say."""
    epochs = (_recipe(folder) or {}).get("epochs")
    done = max((entry["epoch"] for entry in _history(folder)), default=0)
    return None if epochs is None or done >= epochs else f"its training is at epoch {done} of {epochs}"


def _history(folder: Path) -> tuple[Mapping[str, Any], ...]:
    file = folder / _HISTORY
    entries = []
    for line in read_text(file).split("\n") if file.is_file() else []:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("epoch"), int):
            entries.append(entry)
    return tuple(entries)


def _read(place: Path) -> tuple[MeasuredRun, int, int]:
    """The run at a place, the lines that cannot be read, and the records of other checkpoints."""
    folder = place if place.is_dir() else None
    checkpoint = place / _CHECKPOINT if folder else place if place.suffix == ".pt" else None
    file = place / MEASURES if folder else place.parent / MEASURES if checkpoint else place
    held = records.read(file) if file.is_file() else records.Records((), 0)
    run = MeasuredRun(
        path=place,
        checkpoint=checkpoint if checkpoint is not None and checkpoint.is_file() else None,
        file=file,
        estimates=held.estimates,
        history=_history(folder) if folder else (),
        recipe=_recipe(folder) if folder else None,
    )
    if run.checkpoint is not None:
        run = replace(run, digest=sha256(run.checkpoint))
        run = replace(run, estimates=tuple(e for e in held.estimates if run.holds(e)))
    return run, held.unreadable, len(held.estimates) - len(run.estimates)
