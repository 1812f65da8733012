"""Runs in TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.tracking.extra import required
from landscape.tracking.tracker import Ending


class TensorBoard:
    """Event files in the folder of the run: ``tensorboard --logdir runs``."""

    def __init__(self) -> None:
        required("tensorboard")
        self._writer: Any = None

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Open the event file; epochs that will be done again are taken out of view."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1 if epoch else None)
        lines = "\n".join(f"    {name} = {value}" for name, value in recipe.items())
        self._writer.add_text("recipe", lines, global_step=epoch)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """A scalar each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=epoch)
        self._writer.flush()

    def finish(self, ending: Ending) -> None:
        """Close the file."""
        self._writer.close()
