"""Runs in Weights & Biases, offline unless asked otherwise."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from landscape.tracking.extra import required
from landscape.tracking.tracker import Ending


class WeightsAndBiases:
    """A run of ``wandb`` in the folder of the run: ``wandb sync`` sends it later.

    Args:
        project: Where it belongs.
        mode: ``offline`` writes files only; ``online`` sends them.
    """

    def __init__(self, *, project: str = "landscape", mode: Literal["offline", "online"] = "offline") -> None:
        required("wandb")
        self.project = project
        self.mode = mode
        self._run: Any = None

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Begin the run, or go on with the one of that name."""
        import wandb

        self._run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(folder),
            name=folder.name,
            # The same for a run that is gone on with, so that its parts are one run once they are sent.
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            reinit="finish_previous",
            config=dict(recipe),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """All of them at this epoch."""
        self._run.log(dict(values), step=epoch)

    def finish(self, ending: Ending) -> None:
        """Close it; what did not finish is marked as failed."""
        self._run.finish(exit_code=0 if ending == "finished" else 1)
