"""The protocol of trackers, which log runs while they are trained, and a guard that keeps them from stopping a run."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from landscape.errors import Remark, UsageError
from landscape.registry.extras import install

Ending = Literal["finished", "interrupted", "failed"]


class Logger(Protocol):
    """A logger of runs. Whatever it raises, training continues."""

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Called before the first epoch of this process.

        Args:
            recipe: The recipe of the run.
            folder: The folder of the run.
            epoch: Complete epochs: an interrupted run continues after these.
        """

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Called when an epoch is complete and on disk, and again when its network has been measured.

        Args:
            values: Entries of the history, or measures such as ``train/gradient-norm``, by name.
            epoch: The epoch.
        """

    def finish(self, ending: Ending) -> None:
        """Called once, at the end of this process's part of the run."""


class Guarded:
    """Several trackers as one; a tracker that fails is left out from then on, with one warning."""

    def __init__(self, trackers: Sequence[Logger]) -> None:
        self._trackers = list(trackers)

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """See :class:`Logger`."""
        self._each(lambda tracker: tracker.begin(recipe, folder, epoch))

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """See :class:`Logger`; without values, no tracker is called."""
        if values:
            self._each(lambda tracker: tracker.log(values, epoch))

    def finish(self, ending: Ending) -> None:
        """See :class:`Logger`."""
        self._each(lambda tracker: tracker.finish(ending))

    def _each(self, call: Callable[[Logger], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as failure:  # whatever a service or its client does, the run goes on
                self._trackers.remove(tracker)
                words = " ".join(str(failure).split())[:200]
                warnings.warn(
                    f"tracking with {type(tracker).__name__} failed ({type(failure).__name__}: {words}); the run goes "
                    "on without it",
                    Remark,
                    stacklevel=3,
                )


def required(package: str) -> None:
    """Raises :class:`UsageError` with the command to install a missing package, which is not imported here."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed; {install('tracking')} installs it")
