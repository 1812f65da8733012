"""Runs in TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.tracking.logger import Ending, required


class TensorBoard:
    """Event files in the folder of the run: ``tensorboard --logdir runs``."""

    def __init__(self) -> None:
        required("tensorboard")
        self._writer: Any = None

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Opens the event file; epochs that will be computed again are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1 if epoch else None)
        # TensorBoard renders text as Markdown, in which four spaces keep the lines as they are.
        lines = "\n".join(f"    {name} = {value}" for name, value in recipe.items())
        self._writer.add_text("recipe", lines, global_step=epoch)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Adds one scalar per value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=epoch)
        self._writer.flush()  # else a killed process would lose up to two minutes of epochs

    def finish(self, ending: Ending) -> None:
        """Closes the file."""
        self._writer.close()
