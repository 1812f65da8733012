"""How far a long computation is: a bar with an estimate on a terminal, a plain line every 30 s elsewhere."""

import sys
import time
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from landscape.tables.escaping import visible

from .terminal import close_door, drawing_stream

PLAIN_SECONDS = 30.0

EARLY = 0.1
"""Until this share is done, the forecast says better how long it takes than the share does."""


class Bar:
    """One computation's progress on stderr; use as a context manager.

    Args:
        title: What is computed.
        quiet: Shows nothing.
        expected: Seconds that it is likely to take: what is left of them is said until a share of it is done.
    """

    def __init__(self, title: str, *, quiet: bool, expected: float | None = None) -> None:
        self._expected = expected
        self._title = visible(title)
        self._quiet = quiet
        self._live: Progress | None = None
        self._task = TaskID(0)
        self._start = self._said = time.monotonic()

    def __enter__(self) -> "Bar":
        if not self._quiet and sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TaskProgressColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[words]}", markup=False),
                console=Console(file=drawing_stream()),
                transient=True,
            )
            words = "" if self._expected is None else f"about {duration(self._expected)}"
            self._task = self._live.add_task(self._title, total=1.0, words=words)
            self._live.start()
            # rich leads stdout and stderr past the bar while it is drawn.
            close_door()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, words: str, fraction: float) -> None:
        """Shows the fraction done, and a few words."""
        words = visible(words)
        if self._live is not None:
            self._live.update(self._task, completed=min(fraction, 1.0), words=words)
            return
        now = time.monotonic()
        if self._quiet or now - self._said < PLAIN_SECONDS:
            return
        self._said = now
        spent = now - self._start
        left = spent * (1 - fraction) / fraction if fraction > 0 else float("nan")
        if self._expected is not None and fraction < EARLY:
            left = max(self._expected - spent, 0.0)
        estimate = f", about {duration(left)} left" if left == left else ""
        click.echo(f"{self._title}: {fraction:.0%}{estimate} ({words})", err=True)


def duration(seconds: float) -> str:
    """``"2 h 05 min"``, ``"3 min 20 s"``, ``"12 s"``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
