"""A bar for measures that take long, where somebody looks: in a terminal and in a notebook."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.errors import LiveError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from landscape.objective import Objective
from landscape.tables.escaping import visible

_PATIENCE = 1.0  # seconds, which nobody needs to be told of


@contextlib.contextmanager
def shown(objective: Objective, *, wanted: bool | None = None) -> Iterator[None]:
    """Shows what an objective reports meanwhile, on stderr, after a second; the bar is gone at the end.

    Args:
        objective: Its ledger reports; a listener that it has already stays.
        wanted: ``None`` shows a bar in a terminal and in a notebook, and in the first of several processes only.
    """
    ledger = objective.ledger
    if wanted is None:
        is_seen = getattr(sys.stderr, "isatty", bool)() or "ipykernel" in sys.modules
        wanted = is_seen and objective.processes.rank == 0
    if not wanted or ledger.listener is not None:
        yield
        return
    bar = _Bar()
    ledger.listener = bar.tell
    try:
        yield
    finally:
        ledger.listener = None
        bar.end()


class _Bar:
    """One bar of rich, which begins with the first report after a while."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._live: Progress | None = None

    def tell(self, words: str, fraction: float | None) -> None:
        """Shows a report."""
        if self._live is None and time.monotonic() - self._begun > _PATIENCE:
            self._start()
        if self._live is not None:
            text = visible(words)
            self._live.update(self._live.task_ids[0], description=text, total=1, completed=fraction or 0)

    def _start(self) -> None:
        self._begun = math.inf  # where it cannot begin, it is not tried again
        columns = BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
        live = Progress(*columns, console=Console(stderr=True), transient=True)
        with contextlib.suppress(LiveError):  # the caller shows a bar already
            live.start()
            live.add_task("", total=1)
            self._live = live

    def end(self) -> None:
        """Removes the bar."""
        if self._live is not None:
            self._live.stop()
