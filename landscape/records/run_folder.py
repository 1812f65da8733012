"""The folder of a run: the names of its files and what they hold, read without torch.

Training writes the folder, and ``landscape measure`` appends to it. A line or a recipe that cannot be read is passed
over: a torn line must not hide the rest of a run.
"""

import json
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from landscape.errors import InputError
from landscape.records.estimate import Estimate
from landscape.records.json_lines import SCHEMA, Records, from_json, read
from landscape.records.reading import check_regular, read_text, read_toml
from landscape.records.storage import sha256, sha256_of_sums

CHECKPOINT, RECIPE, HISTORY = "checkpoint.pt", "recipe.toml", "history.jsonl"
LOCK = ".lock"
"""The file that a process locks while it trains in the folder; a killed one leaves it."""
MEASURES, MEASURES_HISTORY = "measures.jsonl", "measures-history.jsonl"
TRACKER = "tracker.json"
"""What a :class:`landscape.Tracker` says of itself: whether it is at work, and at its end what it has cost."""
WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
"""Endings of files with weights; what they hold is decided by their content."""

_EPOCH_CHECKPOINT = re.compile(r"epoch-(\d{4,})\.pt")


class During(NamedTuple):
    """An estimate during training: after how many epochs (within one a fraction), and after which step."""

    epoch: int | float
    estimate: Estimate
    step: int | float | None = None


@dataclass(frozen=True)
class Lines:
    """A file by kind of line: numbers of a history, estimates during training, and other estimates.

    Estimates of a loop that counts steps alone have the step for their epoch: ``by_step``.
    """

    epochs: tuple[Mapping[str, int | float], ...] = ()
    during: tuple[During, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    by_step: bool = False


def read_lines(path: Path) -> Lines:
    """The lines of a file by kind, empty if the file does not exist; unreadable lines are passed over."""
    epochs, during, estimates = [], list[During](), []
    for line in read_text(path).split("\n") if path.is_file() else []:
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                continue
            estimate = from_json(line) if fields.get("schema") == SCHEMA else None
        except (ValueError, RecursionError):  # InputError is a ValueError
            continue
        numbers = {key: value for key, value in fields.items() if _is_number(value)}
        epoch = numbers.get("epoch")
        if not isinstance(epoch, int if estimate is None else (int, float)):
            # A record whose epoch is no number is neither of an epoch nor of the finished network.
            estimates += [estimate] if estimate is not None and "epoch" not in fields else []
        elif estimate is not None:
            during.append(During(epoch, estimate, numbers.get("step")))
        else:
            epochs.append(numbers)
    by_step = bool(during) and all(each.step == each.epoch for each in during)
    return Lines(tuple(epochs), tuple(during), tuple(estimates), by_step)


def _is_number(value: object) -> bool:
    """Whether a value that was read is a number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


class RunFolder:
    """The paths of one run's files, which need not exist. Nothing is read before a method is called.

    The weights of the last complete epoch are in ``checkpoint``, those kept during training in ``checkpoints``. The
    estimates of the finished network are in ``measures``, those made during training in ``measures_history``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / CHECKPOINT
        self.recipe = path / RECIPE
        self.history = path / HISTORY
        self.measures = path / MEASURES
        self.measures_history = path / MEASURES_HISTORY
        self.checkpoints = path / "checkpoints"

    def epoch_checkpoint(self, epoch: int) -> Path:
        """The file in which the checkpoint of an epoch is kept."""
        return self.checkpoints / f"epoch-{epoch:04d}.pt"

    def epoch_checkpoints(self) -> list[Path]:
        """The checkpoints that were kept during training, in the order of their epochs."""
        files = self.checkpoints.iterdir() if self.checkpoints.is_dir() else []
        epochs = {file: match for file in files if (match := _EPOCH_CHECKPOINT.fullmatch(file.name))}
        return sorted(epochs, key=lambda file: int(epochs[file][1]))

    def read_recipe(self) -> Mapping[str, Any] | None:
        """The texts and numbers of the recipe; ``None`` if there is no readable one."""
        try:
            fields = read_toml(self.recipe) if self.recipe.is_file() else None
        except InputError:
            return None
        return fields and {k: v for k, v in fields.items() if isinstance(v, str) or _is_number(v)}

    def read_history(self) -> tuple[Mapping[str, int | float], ...]:
        """The numbers of each complete epoch."""
        return read_lines(self.history).epochs

    def read_measures(self) -> Records:
        """The estimates of the finished network, and how many lines are unreadable."""
        return read(self.measures) if self.measures.is_file() else Records((), 0)

    def label(self) -> str:
        """The optimizer of the recipe; without one, the name of the folder."""
        return str((self.read_recipe() or {}).get("optimizer", self.path.resolve().name))

    def ended(self) -> bool:
        """Whether the run says that it is over: training or a tracker has reached the end, or a tracker a failure."""
        try:
            state = json.loads(read_text(self.path / TRACKER))["state"]
        except (OSError, ValueError, RecursionError, TypeError, KeyError):
            return self.recipe.is_file() and self.unfinished() is None
        return bool(state != "running")

    def unfinished(self) -> str | None:
        """Why the run is not finished; ``None`` if it is, or if its recipe does not say."""
        epochs = (self.read_recipe() or {}).get("epochs")
        done = max((entry["epoch"] for entry in self.read_history()), default=0)
        if isinstance(epochs, (int, float)) and done < epochs:
            return f"its training is at epoch {done} of {epochs}"
        # The history is ahead of the checkpoint where a process was killed between the two.
        if isinstance(epochs, (int, float)) and (self.path / LOCK).exists():
            return f"its training is at epoch {done} of {epochs}, and a process is at it or was killed"
        return None


def run_folders(path: Path, *, files: Collection[str] = (CHECKPOINT, RECIPE, MEASURES)) -> list[RunFolder]:
    """The run in a folder, or the runs directly below it by name: folders with at least one of these files."""

    def is_run(folder: Path) -> bool:
        return folder.is_dir() and any((folder / name).is_file() for name in files)

    if is_run(path):
        return [RunFolder(path)]
    return [RunFolder(child) for child in sorted(path.iterdir() if path.is_dir() else ()) if is_run(child)]


def checkpoint_digest(path: Path) -> str | None:
    """The SHA-256 of a checkpoint in records: of its bytes, or of a readable index and all its shards."""
    check_regular(path)
    if not path.name.endswith(".index.json"):
        return sha256(path)
    try:
        names = json.loads(read_text(path))["weight_map"].values()
        # Only names in the same folder: the index may come from a stranger.
        shards = [path.parent / Path(name).name for name in dict.fromkeys(names)]
        return sha256_of_sums([sha256(path), *map(sha256, shards)])
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None
