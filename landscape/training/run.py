"""The folder of a run during training: what it continues from, and which of its files may be replaced."""

import contextlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.records import RunFolder, history
from landscape.records.history import Entry
from landscape.records.reading import read_toml
from landscape.records.run_folder import LOCK
from landscape.records.storage import parts, refuse_special, write_whole
from landscape.training import checkpoint
from landscape.training.recipe import HOW_COMPUTED, Recipe

_ANEW = "overwrite=True (--overwrite) starts again, another output (-o) keeps both"
_KEPT_PART = re.compile(r"\.(epoch-\d{4,}\.pt)\.")
# Every recipe that training wrote has these fields, whatever its version; a user's file of flags hardly has all.
_FIELDS = {"model", "data", "optimizer", "base", "lr", "epochs", "batch_size", "seed"}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        recipe: Its recipe.
        history: One entry per epoch: ``epoch``, ``step``, ``lr`` (of the last step), ``train_loss`` and
            ``train_accuracy`` (running over the epoch, at the weights of each step), ``test_loss``
            (of the recipe's loss, without smoothing) and ``test_accuracy`` (at the end of the epoch, evaluation
            mode; no accuracies where outputs are no class scores);
            so far in the run, ``gradients`` (gradients of a batch evaluated), ``sam_fraction`` (steps that
            evaluated more than one) and ``skipped_steps`` (left out because a gradient was not finite);
            ``seconds`` (of the process that finished the epoch).
        checkpoint: The file with the final weights.
        metrics: The results in the last entry of the history: its losses, accuracies and counts.
    """

    path: Path
    recipe: Recipe
    history: tuple[Entry, ...]
    checkpoint: Path
    metrics: Entry


@dataclass(frozen=True)
class Saved:
    """The checkpoint from which a run continues, and later ones that are damaged."""

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


class RunFiles(RunFolder):
    """The files of one run, with the rules for replacing them.

    Only a file with the mark of a run belongs to one: a recipe as training writes it, or a checkpoint that says that
    it is one. Other files are never replaced or deleted, whatever their names.
    """

    @property
    def starts(self) -> Path:
        """The file with the eigenvectors from which the next measurement starts."""
        return self.path / "measures-starts.pt"

    @property
    def _numbers(self) -> tuple[Path, ...]:
        return self.history, self.measures_history, self.starts, self.measures

    def resumable(self, recipe: Recipe, *, resume: bool, overwrite: bool) -> Saved | None:
        """The checkpoint from which a run of ``recipe`` continues; ``None`` if it starts anew. Changes nothing.

        Raises:
            UsageError: The folder holds another run, a run that is not to be resumed, or files of the user's with the
                names of those of a run.
            InputError: The checkpoint or the recipe is damaged, or a link or a pipe.
        """
        self._refuse_special()
        if overwrite or not self._is_marked():
            self._refuse_foreign()
            return None
        if not resume and (self.checkpoint.exists() or self.recipe.exists()):
            raise UsageError(f"{self.path} holds a run; resume=True (--resume) goes on with it, {_ANEW}")
        if self.recipe.exists():
            try:
                fields = read_toml(self.recipe)
                written = Recipe.from_file(fields, source=str(self.recipe), requested=recipe)
            except ValueError as failure:
                raise InputError(f"{self.recipe} cannot be read ({failure}); {_ANEW}") from failure
            self._require_same(written, recipe)
        saved = self._saved()
        if saved is None:
            self._refuse_foreign()
            self._refuse_loss()
            return None
        source = f"the recipe in {saved.file}"
        self._require_same(Recipe.from_file(saved.content["recipe"], source=source, requested=recipe), recipe)
        # The first checkpoints of this format did not hold the history.
        entries = [
            history.without_seconds(e) for e in history.read(self.history) if e["epoch"] <= saved.epoch
        ]
        saved.content["training"].setdefault("history", entries)
        return saved

    def is_whole(self, saved: Saved) -> bool:
        """Whether the files agree with the checkpoint, and killed processes have left no others."""
        content, lost = history.restored(self.history, saved.history)
        same = self.history.is_file() and self.history.read_bytes() == content
        left = [self.path / LOCK, *self._parts()]
        return saved.file == self.checkpoint and same and not lost and not any(file.exists() for file in left)

    def make(self) -> None:
        """Creates the folder; raises :class:`InputError` if that is impossible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise InputError(f"{self.path} cannot be made a folder: {failure.strerror}") from None

    def start(self, recipe: Recipe) -> None:
        """Deletes the run in the folder, if there is one, and writes the recipe of a new one."""
        # The checkpoint goes first: without it, nothing of an older run is ever taken for this one.
        for file in (self.checkpoint, *self.epoch_checkpoints(), *self._numbers, *self._parts()):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder is absent, or holds files of the user's
            self.checkpoints.rmdir()
        write_whole(self.recipe, recipe.to_toml().encode())

    def go_on(self, recipe: Recipe, saved: Saved) -> list[str]:
        """Restores the folder to its state at a checkpoint; returns a message for each file that was damaged."""
        messages = []
        for part in self._parts():
            part.unlink(missing_ok=True)
        if saved.file != self.checkpoint:
            skipped = "".join(f"{file.name} is damaged, " for file in saved.damaged)
            messages.append(f"{self.checkpoint} is missing; {skipped}the run goes on from {saved.file}")
            write_whole(self.checkpoint, saved.file.read_bytes())
        lost = history.restore(self.history, saved.history)
        if lost:
            messages.append(
                f"{self.history} was damaged: what it says of epoch {', '.join(map(str, lost))} is restored from the "
                "checkpoint, without the seconds"
            )
        unreadable = history.truncate(self.measures_history, epochs=saved.epoch, steps=saved.content["step"])
        if unreadable:
            messages.append(
                f"{self.measures_history} has {unreadable} lines that cannot be read; they stay as they are"
            )
        write_whole(self.recipe, recipe.to_toml().encode())
        return messages

    def finished(self, recipe: Recipe, metrics: Entry) -> Run:
        """The run in the folder."""
        return Run(self.path, recipe, history.read(self.history), self.checkpoint, metrics)

    def _saved(self) -> Saved | None:
        """The checkpoint of the run; if it is missing, the last good one in ``checkpoints/``."""
        if self.checkpoint.exists():
            return Saved(checkpoint.read(self.checkpoint), self.checkpoint)
        damaged: list[Path] = []
        for file in reversed(self.epoch_checkpoints()):
            try:
                return Saved(checkpoint.read(file), file, tuple(damaged))
            except InputError:
                damaged.append(file)
        return None

    def _is_marked(self) -> bool:
        """Whether the folder holds a recipe as training writes it, or a checkpoint that says that it is one."""
        try:
            if read_toml(self.recipe).keys() >= _FIELDS:
                return True
        except InputError:
            pass
        return any(map(checkpoint.is_ours, self._checkpoints()))

    def _checkpoints(self) -> list[Path]:
        """Files with the names of checkpoints; there is nothing to lose in an empty one."""
        return [file for file in (self.checkpoint, *self.epoch_checkpoints()) if _is_filled(file)]

    def _refuse_special(self) -> None:
        for file in (self.recipe, self.checkpoint, *self._numbers, *self.epoch_checkpoints()):
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

    def _refuse_loss(self) -> None:
        """Refuses to start anew if more than the first epoch would be lost, which a kill can leave unsaved."""
        damaged = self.epoch_checkpoints()
        if damaged:
            raise InputError(
                f"{self.path} has no checkpoint.pt, and none of the {len(damaged)} checkpoints in checkpoints/ can be "
                f"read; {_ANEW}"
            )
        entries = *history.read(self.history), *history.read(self.measures_history)
        epochs = math.ceil(max((entry["epoch"] for entry in entries), default=0))
        if epochs > 1 or _is_filled(self.measures):
            rest = f"a history of {epochs} epochs" if epochs > 1 else self.measures.name
            raise InputError(f"{self.path} has {rest} and no checkpoint to go on from; {_ANEW}")

    def _require_same(self, written: Recipe, requested: Recipe) -> None:
        old, new = written.to_dict(), requested.to_dict()
        names = dict.fromkeys((*old, *new))  # the loss and the task are there only if they are set
        changed = [name for name in names if name not in HOW_COMPUTED and old.get(name) != new.get(name)]
        if changed:
            before = ", ".join(f"{name}={old.get(name)}" for name in changed)
            now = ", ".join(f"{name}={new.get(name)}" for name in changed)
            raise UsageError(f"{self.path} holds a run with {before}, and this one has {now}; {_ANEW}")

    def _parts(self) -> list[Path]:
        """What killed processes have left while they wrote."""
        names = os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []
        # A process can die while it writes the first copy of an epoch, which epoch_checkpoints() does not list then.
        unfinished = {self.checkpoints / part[1] for part in map(_KEPT_PART.match, names) if part}
        files = (self.recipe, self.checkpoint, *self._numbers, *unfinished)
        return [part for file in files for part in parts(file)]


def _is_filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0
