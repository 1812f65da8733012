"""Runs on disk as a comparison sees them: one checkpoint each, with its records, history and recipe.

A record belongs to its checkpoint, wherever it is stored: a file with the records of several checkpoints stands for
several runs, and records of one checkpoint in several files belong to one run.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape.comparison.alike import (
    COMPARABLE,
    belongs_to,
    in_order,
    refuse_other_recipes,
    require_baseline,
    row_label,
    settings_key,
)
from landscape.errors import InputError
from landscape.records import RunFolder, checkpoint_digest, run_folders, sweep_folder
from landscape.records.estimate import Cost, Estimate, Provenance
from landscape.records.json_lines import Records, read
from landscape.records.run_folder import CHECKPOINT, MEASURES, WEIGHT_SUFFIXES
from landscape.records.storage import sha256
from landscape.registry.nearest import did_you_mean

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class MeasuredRun:
    """One checkpoint with what is known of it.

    Attributes:
        path: The folder of the run, its checkpoint, or the file with its records.
        checkpoint: The file that can be measured; ``None`` if only records exist.
        file: The file with its records, which need not exist.
        estimates: The records of the checkpoint.
        history: The entries of the training history.
        recipe: How it was trained, if the folder says so.
        digest: The hash of the checkpoint as in its records, if they name one.
    """

    path: Path
    checkpoint: Path | None
    file: Path
    estimates: tuple[Estimate, ...]
    history: History = ()
    recipe: Mapping[str, Any] | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """A path, with the hash of the checkpoint if the file may hold records of several."""
        suffix = f" (checkpoint {self.digest[:12]})" if self.digest and self.path == self.file else ""
        return f"{self.path}{suffix}"

    def holds(self, record: Estimate) -> bool:
        """Whether a record is of this run's checkpoint."""
        return self.digest is not None and record.provenance.checkpoint == self.digest


@dataclass(frozen=True)
class RunSet:
    """The finished runs behind some paths, remarks on what was left out, and the number of unreadable lines."""

    runs: tuple[MeasuredRun, ...]
    remarks: tuple[str, ...]
    unreadable: int


_MOST_NAMED = 20
_UNREADABLE = "unreadable"
_CHANGED = "of other checkpoints than the runs' last"
_AVERAGE = "of other weights in the same file (raw or averaged)"
_REPEATED = "of which a later one is there, of the same checkpoint, measure and settings,"


def find_runs(paths: Sequence[Path]) -> RunSet:
    """The runs behind run folders, folders of them, checkpoints and files of records, each run once.

    Raises:
        InputError: A path does not exist or holds no run, or no run is finished.
    """
    places = dict.fromkeys(place for path in paths for place in _places(path))
    runs: dict[str, MeasuredRun] = {}
    unfinished: dict[str, str] = {}
    files: set[Path] = set()
    left_out: Counter[str] = Counter()
    for place in places:
        reason = place.folder.unfinished() if place.folder else None
        if reason is not None:
            unfinished[str(place.path)] = reason
            continue
        file = place.file.resolve()
        # A folder and a checkpoint in it share a file, whose records are counted once.
        for run in _read(place, Counter() if file in files else left_out):
            key = run.digest or f"{file} {belongs_to(run.estimates[0])}"
            runs[key] = _joined(runs[key], run) if key in runs else run
        files.add(file)
    waiting = {str(path / name): "not begun" for path in paths for name in _waiting(path)}
    remarks = _left_out({**unfinished, **waiting}, len(places) + len(waiting))
    if not runs and remarks:
        raise InputError(
            f"no run is finished: {remarks[0]}; continue it with the command that started it: landscape train"
        )
    if not any(run.estimates or run.checkpoint for run in runs.values()):
        raise InputError(
            f"there is nothing to compare: {next(iter(places)).path} holds neither a record nor a checkpoint that is "
            "still as it was measured; run `landscape measure` first"
        )
    latest = tuple(replace(run, estimates=_latest(run.estimates, left_out)) for run in runs.values())
    reasons = [reason for reason in (_CHANGED, _AVERAGE, _REPEATED) if left_out[reason]]
    counts = [f"{left_out[reason]} records {reason} are left out" for reason in reasons]
    return RunSet(latest, (*remarks, *counts), left_out[_UNREADABLE])


def _left_out(unfinished: Mapping[str, str], total: int) -> list[str]:
    """What a table says of the runs that are not in it: one line, however many they are."""
    if not unfinished:
        return []
    if len(unfinished) == 1:
        [(name, reason)] = unfinished.items()
        return [f"{name} is left out: {reason} (1 of {total} runs is unfinished)"]
    brief = [
        f"{name} ({reason.removeprefix('its training is at ').partition(',')[0]})"
        for name, reason in unfinished.items()
    ]
    rest = f" and {len(brief) - _MOST_NAMED} more" if len(brief) > _MOST_NAMED else ""
    names = ", ".join(brief[:_MOST_NAMED])
    return [f"{len(brief)} of {total} runs are unfinished and left out: {names}{rest}"]


def require_fields(runs: Sequence[MeasuredRun], fields: Sequence[str]) -> None:
    """Raises :class:`InputError` if no recipe has a field, before anything is measured for it."""
    known: dict[str, None] = {}
    for run in runs:
        for recipe in (run.recipe, *(e.provenance.recipe for e in run.estimates)):
            known.update(dict.fromkeys(recipe or ()))
    for name in fields:
        if known and name not in known:
            guess = did_you_mean(name, known)
            raise InputError(f"no recipe field '{name}'{guess}; there are: {', '.join(known)}")


def require_rows(
    runs: Sequence[MeasuredRun], fields: Sequence[str], baseline: str | None
) -> tuple[str, ...] | None:
    """The rows of the table; ``None`` if only the records of some runs can tell.

    Raises:
        InputError: The runs of a row are no repetitions, or no row is the baseline. What the recipes tell is said
            before anything is measured; the records may still tell more.
    """
    recipes = [run.recipe for run in runs if run.recipe and all(name in run.recipe for name in fields)]
    labels = [row_label(recipe, fields) for recipe in recipes]
    for row in dict.fromkeys(labels):
        of_row = [recipe for recipe, label in zip(recipes, labels, strict=True) if label == row]
        refuse_other_recipes(row, of_row, fields)
    if len(recipes) < len(runs):
        return None
    require_baseline(baseline, labels)
    return in_order(dict(zip(labels, recipes, strict=True)), fields)


def without_split(record: Estimate) -> Estimate:
    """A record of a quantity that is not of one split."""
    nowhere = {"split": None, "subset": None, "examples": None, "num_examples": 0, "batch_size": None}
    return replace(record, provenance=replace(record.provenance, **nowhere))  # type: ignore[arg-type]


def from_history(run: MeasuredRun, name: str, like: Provenance | None) -> Estimate | None:
    """A quantity of :data:`OF_HISTORY` as a record, with the provenance ``like`` that of the run's other records.

    ``None`` if the history does not hold the quantity.
    """
    value = OF_HISTORY[name](run.history) if run.history else None
    if value is None or (like is None and run.recipe is None):
        return None
    # Without other records, the provenance says that the number was measured on no data.
    nowhere = Provenance(
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
    return Estimate(
        measure=name,
        value=float(value),
        unit="1",
        standard_error=None,
        converged=None,
        settings={},
        provenance=like or nowhere,
        cost=Cost(),
    )


OF_HISTORY: Mapping[str, Callable[[History], float | None]] = {
    "sam-share": lambda entries: entries[-1].get("sam_fraction"),
    "gradients": lambda entries: entries[-1].get("gradients"),
    # A line that was restored from the checkpoint lacks its seconds, and the sum of the others would be wrong.
    "seconds": lambda entries: (
        sum(e["seconds"] for e in entries) if all("seconds" in e for e in entries) else None
    ),
}
"""Quantities of the training rather than of the network: the share of steps that evaluated more than one gradient, the
number of batch gradients, and seconds."""


@dataclass(frozen=True)
class _Place:
    """A place where runs are looked for: a file of records, the folder of a run, or one checkpoint alone."""

    path: Path
    file: Path
    checkpoint: Path | None = None
    folder: RunFolder | None = None
    alone: bool = False


def _places(path: Path) -> list[_Place]:
    is_weights = path.suffix in WEIGHT_SUFFIXES
    if path.is_file() or is_weights or path.suffix == ".jsonl":
        if not path.exists():
            raise InputError(f"{path} does not exist; train it first: landscape train")
        if not is_weights:
            return [_Place(path, path)]
        around = RunFolder(path.parent)
        folder = around if path.name == CHECKPOINT else None
        return [_Place(around.path if folder else path, around.measures, path, folder, alone=True)]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; train it first: landscape train -o {path}")
    folders = run_folders(path)
    if not folders and not sweep_folder.planned_runs(path):
        raise InputError(f"{path} holds no run; train one there first: landscape train -o {path}")
    return [_Place(f.path, f.measures, f.checkpoint if f.checkpoint.is_file() else None, f) for f in folders]


def _waiting(path: Path) -> list[str]:
    """The runs that a plan sends into a folder and that nobody has begun."""
    begun = {folder.path.name for folder in run_folders(path)}
    return [name for name in sweep_folder.planned_runs(path) if name not in begun]


def _read(place: _Place, left_out: Counter[str]) -> Iterator[MeasuredRun]:
    """The runs at a place; records that are left out are counted by reason."""
    records = read(place.file) if place.file.is_file() else Records((), 0)
    left_out[_UNREADABLE] += records.unreadable
    groups: dict[str, tuple[Estimate, ...]] = {}
    for record in records.estimates:
        groups[belongs_to(record)] = (*groups.get(belongs_to(record), ()), record)
    # A checkpoint of gigabytes is hashed once, however many groups of records name it.
    digests: dict[str, str | None] = {}
    if place.checkpoint is not None:
        digest = digests[place.checkpoint.name] = sha256(place.checkpoint)
        yield MeasuredRun(
            path=place.path,
            checkpoint=place.checkpoint,
            file=place.file,
            estimates=groups.pop(digest, ()),
            history=place.folder.read_history() if place.folder else (),
            recipe=place.folder.read_recipe() if place.folder else None,
            digest=digest,
        )
    for key, estimates in groups.items():
        # The last record that names a file, because older versions did not and files are renamed.
        name = next((file for e in reversed(estimates) if (file := e.provenance.checkpoint_file)), None)
        beside = _beside(place.file, name)
        if beside is not None and beside.name not in digests:
            digests[beside.name] = checkpoint_digest(beside)
        now = None if beside is None else digests[beside.name]
        default = key.partition(":")[
            0
        ]  # "DIGEST:raw" are the weights of DIGEST that are not the default ones
        if default != key and (default in groups or default in digests.values()):
            left_out[_AVERAGE] += len(estimates)
        elif (beside is not None and default != now) or (name is None and place.checkpoint is not None):
            left_out[_CHANGED] += len(estimates)
        elif not place.alone:
            measurable = beside if place.folder and key == now else None
            checkpoint = estimates[0].provenance.checkpoint
            yield MeasuredRun(measurable or place.path, measurable, place.file, estimates, digest=checkpoint)


def _beside(file: Path, name: str | None) -> Path | None:
    """The checkpoint of that name in the folder of the records, if it is a file there."""
    # A file of records that was moved lies beside other checkpoints of the same names, and a record may not name a
    # file of another folder.
    if file.name != MEASURES or not name or Path(name).name != name:
        return None
    return file.parent / name if (file.parent / name).is_file() else None


def _joined(first: MeasuredRun, second: MeasuredRun) -> MeasuredRun:
    """One run from what two places hold of the same checkpoint."""
    measurable = first if first.checkpoint is not None else second
    added = tuple(record for record in second.estimates if record not in first.estimates)
    return replace(
        measurable,
        estimates=(*first.estimates, *added),
        history=first.history or second.history,
        recipe=first.recipe or second.recipe,
    )


def _latest(estimates: Sequence[Estimate], left_out: Counter[str]) -> tuple[Estimate, ...]:
    """Of several records of one quantity under the same conditions, the last one."""
    latest: dict[tuple[object, ...], Estimate] = {}
    for record in estimates:
        conditions = tuple(getattr(record.provenance, name) for name in COMPARABLE)
        latest[record.measure, settings_key(record), *conditions] = record
    left_out[_REPEATED] += len(estimates) - len(latest)
    return tuple(latest.values())
