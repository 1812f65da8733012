"""A run on disk: recipe, history, checkpoints, and what was measured on the way, in one folder."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.records import history
from landscape.records.history import Entry
from landscape.records.reading import read_toml
from landscape.records.storage import parts, refuse_special, write_whole
from landscape.training import checkpoint, lock
from landscape.training.recipe import Recipe

_ANEW = "overwrite=True (--overwrite) starts again, another output (-o) keeps both"
_KEPT = re.compile(r"epoch-\d{4,}\.pt")
_KEPT_PART = re.compile(rf"\.({_KEPT.pattern})\.")
_FIELDS = {"model", "data", "optimizer", "base", "lr", "epochs", "batch_size", "seed"}
"""Every recipe that training wrote has them, whatever its version; a file of a user's flags hardly has all."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        recipe: What was asked for.
        history: One entry an epoch: ``epoch``, ``step``, ``lr`` (of the last step), ``train_loss`` and
            ``train_accuracy`` (running over the epoch, at the weights of each step), ``test_loss``
            (cross-entropy without smoothing) and ``test_accuracy`` (at the end of the epoch, evaluation mode);
            so far in the run, ``gradients`` (gradients of a batch evaluated), ``sam_fraction`` (steps that
            evaluated more than one) and ``skipped_steps`` (left out because a gradient was not finite);
            ``seconds`` (of the process that finished the epoch).
        checkpoint: The file with the final weights.
        metrics: What the last entry of the history says of the result: its losses, accuracies and counts.
    """

    path: Path
    recipe: Recipe
    history: tuple[Entry, ...]
    checkpoint: Path
    metrics: Entry


@dataclass(frozen=True)
class Saved:
    """What a run goes on from.

    Attributes:
        content: Of the checkpoint.
        file: The checkpoint: that of the run, or the last good one of those that were kept.
        damaged: Kept checkpoints after it that cannot be read.
    """

    content: dict[str, Any]
    file: Path
    damaged: tuple[Path, ...] = ()

    @property
    def epoch(self) -> int:
        """Complete epochs."""
        return int(self.content["epoch"])

    @property
    def history(self) -> list[Entry]:
        """The entries of the complete epochs, without their seconds."""
        return list(self.content["training"]["history"])


class RunFolder:
    """The files of one run.

    Only what carries the mark of a run is taken for a part of one: a recipe as training writes it, or checkpoints that
    say that they are. Other files are never replaced or deleted, whatever they are called.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.toml"
        self.history = path / "history.jsonl"
        self.measures = path / "measures-history.jsonl"
        self.starts = path / "measures-starts.pt"
        self.checkpoint = path / "checkpoint.pt"
        self.checkpoints = path / "checkpoints"
        self._numbers = (self.history, self.measures, self.starts, path / "measures.jsonl")

    def resumable(self, recipe: Recipe, *, resume: bool, overwrite: bool) -> Saved | None:
        """What a run of ``recipe`` goes on from; ``None`` if it starts anew. Changes nothing.

        Raises:
            UsageError: The folder holds another run, one that is not to be resumed, or files of the user's in the
                place of those of a run.
            InputError: The checkpoint or the recipe is damaged, or there are links or pipes in their place.
        """
        self._refuse_special()
        if overwrite:
            self._refuse_foreign()
            return None
        if not self._is_marked():
            self._refuse_foreign()
            return None
        if not resume and (self.checkpoint.exists() or self.recipe.exists()):
            raise UsageError(f"{self.path} holds a run; resume=True (--resume) goes on with it, {_ANEW}")
        if self.recipe.exists():
            self._require_same(self._written_recipe(recipe), recipe)
        saved = self._saved()
        if saved is None:
            self._refuse_foreign()
            self._refuse_loss()
            return None
        source = f"the recipe in {saved.file}"
        self._require_same(Recipe.from_file(saved.content["recipe"], source=source, requested=recipe), recipe)
        # Checkpoints of before the history was a part of them.
        saved.content["training"].setdefault(
            "history", [history.without_seconds(e) for e in self._entries() if e["epoch"] <= saved.epoch]
        )
        return saved

    def is_whole(self, saved: Saved) -> bool:
        """Whether the files of a run are those of its checkpoint, and no others of killed processes are left."""
        content, lost = history.restored(self.history, saved.history)
        same = self.history.is_file() and self.history.read_bytes() == content
        left = [self.path / lock.NAME, *self._parts()]
        return saved.file == self.checkpoint and same and not lost and not any(file.exists() for file in left)

    def make(self) -> None:
        """Make the folder.

        Raises:
            InputError: It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise InputError(f"{self.path} cannot be made a folder: {failure.strerror}") from None

    def start(self, recipe: Recipe) -> None:
        """Write the recipe of a new run over whatever run was there."""
        # The checkpoint goes first: without it, nothing of an older run is ever taken for this one.
        for file in (self.checkpoint, *self._kept(), *self._numbers):
            file.unlink(missing_ok=True)
        self._discard_parts()
        with contextlib.suppress(OSError):  # it is not there, or holds files of the user's
            self.checkpoints.rmdir()
        write_whole(self.recipe, recipe.to_toml().encode())

    def go_on(self, recipe: Recipe, saved: Saved) -> list[str]:
        """Make the folder what it was at a checkpoint, without what a killed process left.

        Returns:
            What was damaged, and what became of it.
        """
        said = []
        self._discard_parts()
        if saved.file != self.checkpoint:
            skipped = "".join(f"{file.name} is damaged, " for file in saved.damaged)
            said.append(f"{self.checkpoint} is missing; {skipped}the run goes on from {saved.file}")
            write_whole(self.checkpoint, saved.file.read_bytes())
        lost = history.restore(self.history, saved.history)
        if lost:
            epochs = ", ".join(map(str, lost))
            said.append(
                f"{self.history} was damaged: what it says of epoch {epochs} is restored from the checkpoint, without "
                "the seconds"
            )
        unreadable = history.truncate(self.measures, saved.epoch)
        if unreadable:
            said.append(f"{self.measures} has {unreadable} lines that cannot be read; they stay as they are")
        write_whole(self.recipe, recipe.to_toml().encode())
        return said

    def numbered(self, epoch: int) -> Path:
        """The file of the checkpoint that is kept of an epoch."""
        return self.checkpoints / f"epoch-{epoch:04d}.pt"

    def finished(self, recipe: Recipe, metrics: Entry) -> Run:
        """The run that the folder holds."""
        return Run(self.path, recipe, self._entries(), self.checkpoint, metrics)

    def _entries(self) -> tuple[Entry, ...]:
        return history.read(self.history)

    def _kept(self) -> list[Path]:
        """Checkpoints by their names, the last epoch first."""
        if not self.checkpoints.is_dir():
            return []
        files = [file for file in self.checkpoints.iterdir() if _KEPT.fullmatch(file.name)]
        return sorted(files, key=lambda file: int(file.stem.partition("-")[2]), reverse=True)

    def _saved(self) -> Saved | None:
        """The checkpoint; if it is not there, the last good one of those that were kept."""
        if self.checkpoint.exists():
            return Saved(checkpoint.read(self.checkpoint), self.checkpoint)
        damaged: list[Path] = []
        for file in self._kept():
            try:
                return Saved(checkpoint.read(file), file, tuple(damaged))
            except InputError:
                damaged.append(file)
        return None

    def _refuse_special(self) -> None:
        for file in (self.recipe, self.checkpoint, *self._numbers, *self._kept()):
            refuse_special(file)
        if self.checkpoints.is_symlink():
            raise InputError(
                f"{self.checkpoints} is a symbolic link to {os.readlink(self.checkpoints)}, and nothing is written "
                "through a link; remove it, or name another output (-o)"
            )

    def _refuse_foreign(self) -> None:
        """Refuses files that a run would replace and that no run has written."""
        foreign = [file for file in self._checkpoints() if not checkpoint.is_ours(file)]
        if not self._is_marked():
            foreign += [file for file in (self.recipe, *self._numbers) if _is_filled(file)]
        if foreign:
            raise UsageError(
                f"{foreign[0]} was not written by training, and a run in {self.path} would replace it; move it, or "
                "name another output (-o)"
            )

    def _is_marked(self) -> bool:
        """Whether the folder says that it is one of a run."""
        return self._is_recipe() or any(map(checkpoint.is_ours, self._checkpoints()))

    def _is_recipe(self) -> bool:
        """Whether there is a recipe as training writes it."""
        try:
            return read_toml(self.recipe).keys() >= _FIELDS
        except InputError:
            return False

    def _checkpoints(self) -> list[Path]:
        """Files in the place of checkpoints; an empty one has nothing to lose."""
        return [file for file in (self.checkpoint, *self._kept()) if _is_filled(file)]

    def _refuse_loss(self) -> None:
        """Refuses to start a run anew where that would lose more than the first epoch, which a kill can leave."""
        damaged = self._kept()
        if damaged:
            raise InputError(
                f"{self.path} has no checkpoint.pt, and none of the {len(damaged)} checkpoints in checkpoints/ can be "
                f"read; {_ANEW}"
            )
        epochs = len(self._entries())
        full = [file for file in self._numbers[1:] if _is_filled(file)]
        if epochs > 1 or full:
            rest = f"a history of {epochs} epochs" if epochs > 1 else full[0].name
            raise InputError(f"{self.path} has {rest} and no checkpoint to go on from; {_ANEW}")

    def _parts(self) -> list[Path]:
        """What killed processes have left while they wrote."""
        names = os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []
        kept = {self.checkpoints / part[1] for part in map(_KEPT_PART.match, names) if part}
        return [
            part for file in (self.recipe, self.checkpoint, *self._numbers, *kept) for part in parts(file)
        ]

    def _discard_parts(self) -> None:
        for part in self._parts():
            part.unlink(missing_ok=True)

    def _written_recipe(self, asked: Recipe) -> Recipe:
        try:
            return Recipe.from_file(read_toml(self.recipe), source=str(self.recipe), requested=asked)
        except ValueError as failure:
            raise InputError(f"{self.recipe} cannot be read ({failure}); {_ANEW}") from failure

    def _require_same(self, written: Recipe, asked: Recipe) -> None:
        old, new = written.to_dict(), asked.to_dict()
        differ = [name for name in old if name != "device" and old[name] != new[name]]
        if differ:
            seen = ", ".join(f"{name}={old[name]}" for name in differ)
            wanted = ", ".join(f"{name}={new[name]}" for name in differ)
            raise UsageError(f"{self.path} holds a run with {seen}, and this one has {wanted}; {_ANEW}")


def _is_filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0
