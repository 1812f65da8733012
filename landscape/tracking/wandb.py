"""Runs in Weights & Biases, offline by default."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from landscape.tracking.logger import Ending, required


class WeightsAndBiases:
    """A run of ``wandb`` in the folder of the run, which ``wandb sync`` uploads later.

    Args:
        project: The project of the run.
        mode: ``offline`` only writes files; ``online`` also uploads them.
    """

    def __init__(self, *, project: str = "landscape", mode: Literal["offline", "online"] = "offline") -> None:
        required("wandb")
        self.project = project
        self.mode = mode
        self._run: Any = None

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Begins the run, or continues the one of this folder."""
        import wandb

        self._run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(folder),
            name=folder.name,
            # The id of a resumed run stays the same, so that its parts become one run when they are uploaded.
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            reinit="finish_previous",
            config=dict(recipe),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Logs all values at this epoch."""
        self._run.log(dict(values), step=epoch)

    def finish(self, ending: Ending) -> None:
        """Closes the run; one that did not finish is marked as failed."""
        self._run.finish(exit_code=0 if ending == "finished" else 1)
