"""What is on disk of runs: their records, how they were trained, and whether they are finished.

A record belongs to its checkpoint, wherever it lies: a file with the records of several checkpoints stands for
several runs, and records of one checkpoint in several files are of one run.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape import records
from landscape.comparison.alike import COMPARABLE, belongs_to, settings_key
from landscape.errors import InputError
from landscape.records.estimate import Cost, Estimate, Provenance
from landscape.records.reading import check_regular, read_text, read_toml
from landscape.records.storage import sha256, sha256_of_sums
from landscape.registry.nearest import did_you_mean

MEASURES = "measures.jsonl"
_CHECKPOINT, _RECIPE, _HISTORY = "checkpoint.pt", "recipe.toml", "history.jsonl"
_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")


@dataclass(frozen=True)
class MeasuredRun:
    """A run: one checkpoint with what is known of it.

    Attributes:
        path: Its folder, its checkpoint, or the file in which its records are.
        checkpoint: What can be measured; ``None`` where only records are there.
        file: Where its records are, or will be.
        estimates: The records of that checkpoint.
        history: One entry an epoch, as training wrote them.
        recipe: How it was trained, where the folder says.
        digest: The hash of the checkpoint, as in its records; ``None`` where they do not say.
    """

    path: Path
    checkpoint: Path | None
    file: Path
    estimates: tuple[Estimate, ...]
    history: tuple[Mapping[str, Any], ...] = ()
    recipe: Mapping[str, Any] | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """What to call it: a path, with the hash of the checkpoint where a file holds the records of several."""
        return (
            f"{self.path} (checkpoint {self.digest[:12]})"
            if self.path == self.file and self.digest
            else str(self.path)
        )

    def holds(self, record: Estimate) -> bool:
        """Whether a record is of this run's checkpoint."""
        return self.digest is not None and record.provenance.checkpoint == self.digest


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


@dataclass
class _Left:
    """How many records were left out, by reason."""

    unreadable: int = 0
    changed: int = 0
    average: int = 0
    repeated: int = 0

    def remarks(self) -> list[str]:
        reasons = (
            (self.changed, "of other checkpoints than the runs' last"),
            (self.average, "of other weights in the same file (raw or averaged)"),
            (self.repeated, "of which a later one is there, of the same checkpoint, measure and settings,"),
        )
        return [f"{count} records {which} are left out" for count, which in reasons if count]


def find_runs(paths: Sequence[Path]) -> Found:
    """The runs that paths stand for: run folders, folders of them, checkpoints, files of records.

    Args:
        paths: Any of these; what is there twice counts once.

    Raises:
        InputError: A path does not exist or holds no run, or no run is finished.
    """
    places = dict.fromkeys(place for path in paths for place in _places(path))
    runs: dict[str, MeasuredRun] = {}
    remarks: dict[str, None] = {}
    files: set[Path] = set()
    left = _Left()
    for place in places:
        unfinished = _unfinished(place.folder) if place.folder else None
        if unfinished is not None:
            remarks[f"{place.path} is left out: {unfinished}"] = None
            continue
        for run in _read(place, left, count=place.file.resolve() not in files):
            key = run.digest or f"{place.file.resolve()} {belongs_to(run.estimates[0])}"
            runs[key] = _joined(runs[key], run) if key in runs else run
        files.add(place.file.resolve())
    if not runs and remarks:
        raise InputError(
            f"no run is finished: {next(iter(remarks))}; go on with it: landscape train, as it was started"
        )
    if not any(run.estimates or run.checkpoint for run in runs.values()):
        raise InputError(
            f"there is nothing to compare: {next(iter(places)).path} holds neither a record nor a checkpoint that is "
            "still as it was measured; run `landscape measure` first"
        )
    latest = [replace(run, estimates=_latest(run.estimates, left)) for run in runs.values()]
    return Found(tuple(latest), (*remarks, *left.remarks()), left.unreadable)


def require_fields(runs: Sequence[MeasuredRun], fields: Sequence[str]) -> None:
    """Raises :class:`InputError` if no recipe has a field, before anything is measured for its sake."""
    known: dict[str, None] = {}
    for run in runs:
        for recipe in (run.recipe, *(e.provenance.recipe for e in run.estimates)):
            known.update(dict.fromkeys(recipe or ()))
    for name in fields:
        if known and name not in known:
            guess = did_you_mean(name, known)
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


OF_HISTORY: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], float | None]] = {
    "sam-share": lambda entries: entries[-1].get("sam_fraction"),
    "gradients": lambda entries: entries[-1].get("gradients"),
    # A line that was restored from the checkpoint lacks them, and a sum of the others would be of another run.
    "seconds": lambda entries: (
        sum(e["seconds"] for e in entries) if all("seconds" in e for e in entries) else None
    ),
}
"""What is no measure of the network but of its training: the share of steps that evaluated more than one gradient,
gradients of a batch evaluated, seconds."""


@dataclass(frozen=True)
class _Place:
    """Where runs are looked for.

    Attributes:
        path: What to call it.
        file: Where the records are.
        checkpoint: The checkpoint of the folder, or the one that was named.
        folder: The folder of a run.
        alone: Whether only that checkpoint was named.
    """

    path: Path
    file: Path
    checkpoint: Path | None = None
    folder: Path | None = None
    alone: bool = False


def _places(path: Path) -> list[_Place]:
    if path.is_file() or path.suffix in (*_WEIGHTS, ".jsonl"):
        if not path.exists():
            raise InputError(f"{path} does not exist; train it first: landscape train")
        folder = path.parent if path.name == _CHECKPOINT else None
        if path.suffix in _WEIGHTS:
            return [_Place(folder or path, path.parent / MEASURES, path, folder, alone=True)]
        return [_Place(path, path)]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; train it first: landscape train -o {path}")
    if _is_run(path):
        return [_run_folder(path)]
    children = [child for child in sorted(path.iterdir()) if child.is_dir() and _is_run(child)]
    if not children:
        raise InputError(f"{path} holds no run; train one there first: landscape train -o {path}")
    return [_run_folder(child) for child in children]


def _run_folder(path: Path) -> _Place:
    checkpoint = path / _CHECKPOINT
    return _Place(path, path / MEASURES, checkpoint if checkpoint.is_file() else None, path)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MEASURES, _CHECKPOINT, _RECIPE))


def _recipe(folder: Path) -> Mapping[str, Any] | None:
    """The numbers and texts in a recipe; ``None`` where there is none that can be read."""
    file = folder / _RECIPE
    try:
        fields = read_toml(file) if file.is_file() else None
    except InputError:
        return None
    return fields and {
        key: value for key, value in fields.items() if isinstance(value, str) or records.is_number(value)
    }


def _unfinished(folder: Path) -> str | None:
    """Why the run cannot be compared yet; ``None`` if it is finished, or does not say."""
    epochs = (_recipe(folder) or {}).get("epochs")
    done = max((entry["epoch"] for entry in _history(folder)), default=0)
    finished = not isinstance(epochs, (int, float)) or done >= epochs
    return None if finished else f"its training is at epoch {done} of {epochs}"


def _history(folder: Path) -> tuple[Mapping[str, Any], ...]:
    file = folder / _HISTORY
    lines = read_text(file).split("\n") if file.is_file() else []
    entries = (records.epoch_numbers(line) for line in lines)
    return tuple(entry for entry in entries if entry is not None)


def _read(place: _Place, left: _Left, *, count: bool) -> Iterator[MeasuredRun]:
    """The runs at a place; records that are left out are counted."""
    held = records.read(place.file) if place.file.is_file() else records.Records((), 0)
    groups: dict[str, tuple[Estimate, ...]] = {}
    for record in held.estimates:
        groups[belongs_to(record)] = (*groups.get(belongs_to(record), ()), record)
    left = left if count else _Left()
    left.unreadable += held.unreadable
    digests: dict[str, str | None] = {}
    if place.checkpoint is not None:
        digest = sha256(place.checkpoint)
        digests[place.checkpoint.name] = digest
        yield MeasuredRun(
            path=place.path,
            checkpoint=place.checkpoint,
            file=place.file,
            estimates=groups.pop(digest, ()),
            history=_history(place.folder) if place.folder else (),
            recipe=_recipe(place.folder) if place.folder else None,
            digest=digest,
        )
    for key, estimates in groups.items():
        name = next(
            (e.provenance.checkpoint_file for e in reversed(estimates) if e.provenance.checkpoint_file), None
        )
        beside = _beside(place.file, name)
        if beside is not None and beside.name not in digests:
            digests[beside.name] = _digest(beside)
        now = None if beside is None else digests[beside.name]
        default = key.partition(":")[0]
        if default != key and (default in groups or default in digests.values()):
            left.average += len(estimates)
        elif (beside is not None and default != now) or (name is None and place.checkpoint is not None):
            left.changed += len(estimates)
        elif not place.alone:
            measurable = beside if place.folder and key == now else None
            known = estimates[0].provenance.checkpoint
            yield MeasuredRun(measurable or place.path, measurable, place.file, estimates, digest=known)


def _beside(file: Path, name: str | None) -> Path | None:
    """The checkpoint that records are of, where they lie beside it: elsewhere a file of its name is another one."""
    if file.name != MEASURES or not name or Path(name).name != name:
        return None
    return file.parent / name if (file.parent / name).is_file() else None


def _digest(checkpoint: Path) -> str | None:
    """The hash of a checkpoint as records have it; ``None`` for an index that cannot be read."""
    check_regular(checkpoint)
    if not checkpoint.name.endswith(".index.json"):
        return sha256(checkpoint)
    try:
        names = json.loads(read_text(checkpoint))["weight_map"].values()
        shards = [checkpoint.parent / Path(name).name for name in dict.fromkeys(names)]
        return sha256_of_sums([sha256(checkpoint), *map(sha256, shards)])
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None


def _joined(first: MeasuredRun, second: MeasuredRun) -> MeasuredRun:
    """One run of what two places say of the same checkpoint."""
    known = first if first.checkpoint is not None else second
    added = tuple(record for record in second.estimates if record not in first.estimates)
    return replace(
        known,
        estimates=(*first.estimates, *added),
        history=first.history or second.history,
        recipe=first.recipe or second.recipe,
    )


def _latest(estimates: Sequence[Estimate], left: _Left) -> tuple[Estimate, ...]:
    """Of several records of one quantity under the same conditions, the last one."""
    latest: dict[tuple[object, ...], Estimate] = {}
    for record in estimates:
        conditions = tuple(getattr(record.provenance, name) for name in COMPARABLE)
        latest[record.measure, settings_key(record), *conditions] = record
    left.repeated += len(estimates) - len(latest)
    return tuple(latest.values())
