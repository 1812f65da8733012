"""Trackers that cannot stop a run: one that fails is left out from then on, and it is said once."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from landscape.errors import Remark
from landscape.tracking.tracker import Ending, Tracker


class Guarded:
    """Several trackers as one.

    Args:
        trackers: Any number of them.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """See :class:`Tracker`."""
        self._each(lambda tracker: tracker.begin(recipe, folder, epoch))

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """See :class:`Tracker`."""
        if values:
            self._each(lambda tracker: tracker.log(values, epoch))

    def finish(self, ending: Ending) -> None:
        """See :class:`Tracker`."""
        self._each(lambda tracker: tracker.finish(ending))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                act(tracker)
            except Exception as failure:  # whatever a service or its client does, the run goes on
                self._trackers.remove(tracker)
                words = " ".join(str(failure).split())[:200]
                warnings.warn(
                    f"tracking with {type(tracker).__name__} failed ({type(failure).__name__}: {words}); the run goes "
                    "on without it",
                    Remark,
                    stacklevel=3,
                )
