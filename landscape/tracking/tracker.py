"""What a tracker is told of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

Ending = Literal["finished", "interrupted", "failed"]


class Tracker(Protocol):
    """Something that shows runs while they are trained. Whatever it raises, training goes on."""

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Called before the first epoch of this process.

        Args:
            recipe: What is trained.
            folder: Of the run.
            epoch: Epochs that are complete: a run that was interrupted goes on after these.
        """

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Called when an epoch is complete and on disk, and again when its network was measured.

        Args:
            values: By name: of the history, and measures as ``train/gradient-norm``.
            epoch: Which.
        """

    def finish(self, ending: Ending) -> None:
        """Called once, at the end of this process's part of the run."""
