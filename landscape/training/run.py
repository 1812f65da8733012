"""A run on disk: recipe, history, checkpoints, and what was measured on the way, in one folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.storage import write_whole
from landscape.training import checkpoint, history
from landscape.training.history import Entry
from landscape.training.recipe import Recipe

_ANEW = "overwrite=True (--overwrite) starts again, another output (-o) keeps both"


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


class RunFolder:
    """The files of one run.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.toml"
        self.history = path / "history.jsonl"
        self.measures = path / "measures-history.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.checkpoints = path / "checkpoints"

    def resumable(self, recipe: Recipe, *, resume: bool) -> dict[str, Any] | None:
        """The checkpoint that a run of ``recipe`` goes on from; ``None`` if there is none. Changes nothing.

        Raises:
            UsageError: The folder holds another run, or one that is not to be resumed.
            InputError: The checkpoint or the recipe is damaged.
        """
        if not resume and (self.checkpoint.exists() or self.recipe.exists()):
            raise UsageError(f"{self.path} holds a run; resume=True (--resume) goes on with it, {_ANEW}")
        if self.recipe.exists():
            self._require_same(self._written_recipe(recipe), recipe)
        if not self.checkpoint.exists():
            return None
        content = checkpoint.read(self.checkpoint)
        source = f"the recipe in {self.checkpoint}"
        self._require_same(Recipe.from_file(content["recipe"], source=source, asked=recipe), recipe)
        return content

    def start(self, recipe: Recipe) -> None:
        """Write the recipe of a new run over whatever run was there.

        Raises:
            InputError: The folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise InputError(f"{self.path} cannot be made a folder: {failure.strerror}") from None
        # The checkpoint goes first: without it, nothing of an older run is ever taken for this one.
        for file in (self.checkpoint, self.history, self.measures, self.path / "measures.jsonl"):
            file.unlink(missing_ok=True)
        if self.checkpoints.is_dir():
            shutil.rmtree(self.checkpoints)
        write_whole(self.recipe, recipe.to_toml().encode())

    def go_on(self, recipe: Recipe, epochs: int) -> None:
        """Make the folder what it was after ``epochs`` epochs, without what a killed process left."""
        for stray in self.path.glob(".*.part"):
            stray.unlink()
        history.truncate(self.history, epochs)
        history.truncate(self.measures, epochs)
        write_whole(self.recipe, recipe.to_toml().encode())

    def numbered(self, epoch: int) -> Path:
        """The file of the checkpoint that is kept of an epoch."""
        return self.checkpoints / f"epoch-{epoch:04d}.pt"

    def finished(self, recipe: Recipe, metrics: Entry) -> Run:
        """The run that the folder holds."""
        return Run(self.path, recipe, history.read(self.history), self.checkpoint, metrics)

    def _written_recipe(self, asked: Recipe) -> Recipe:
        try:
            text = self.recipe.read_text(encoding="utf-8")
            return Recipe.from_toml(text, source=str(self.recipe), asked=asked)
        except ValueError as failure:
            raise InputError(f"{self.recipe} cannot be read ({failure}); {_ANEW}") from failure

    def _require_same(self, written: Recipe, asked: Recipe) -> None:
        old, new = written.to_dict(), asked.to_dict()
        differ = [name for name in old if name != "device" and old[name] != new[name]]
        if differ:
            seen = ", ".join(f"{name}={old[name]}" for name in differ)
            wanted = ", ".join(f"{name}={new[name]}" for name in differ)
            raise UsageError(f"{self.path} holds a run with {seen}, and this one has {wanted}; {_ANEW}")
