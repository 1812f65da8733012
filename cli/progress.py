"""How far a long computation is: a bar with an estimate on a terminal, a plain line every 30 s elsewhere."""

import sys
import time
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

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
                TextColumn("{task.fields[left]}", markup=False),
                TextColumn("{task.fields[words]}", markup=False),
                console=Console(file=drawing_stream()),
                transient=True,
            )
            left = "" if self._expected is None else f"about {duration(self._expected)}"
            # Without a total the bar moves to and fro, until something is known.
            self._task = self._live.add_task(self._title, total=None, left=left, words="")
            self._live.start()
            # rich leads stdout and stderr past the bar while it is drawn.
            close_door()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, words: str, fraction: float | None) -> None:
        """Shows a few words, and the fraction done with the time that is left, where they are known."""
        words = visible(words)
        seconds = self._left(fraction)
        left = "" if seconds is None else f"about {duration(seconds)} left"
        if self._live is not None:
            self._live.update(self._task, left=left, words=words)
            if fraction is not None:
                self._live.update(self._task, completed=min(fraction, 1.0), total=1.0)
            return
        now = time.monotonic()
        if self._quiet or now - self._said < PLAIN_SECONDS:
            return
        self._said = now
        known = [part for part in ("" if fraction is None else f"{fraction:.0%}", left) if part]
        click.echo(f"{self._title}: {', '.join(known)}{' ' if known else ''}({words})", err=True)

    def _left(self, fraction: float | None) -> float | None:
        """Seconds that are left; ``None`` where nobody knows."""
        # At the whole of a share that is an estimate itself, the work goes on, and its end is not known.
        if fraction is None or fraction >= 1:
            return None
        spent = time.monotonic() - self._start
        # A forecast that has come and gone was wrong: what is left of it is not nothing, but unknown.
        if self._expected is not None and fraction < EARLY and spent < self._expected:
            return self._expected - spent
        return spent * (1 - fraction) / fraction if fraction > 0 else None


def duration(seconds: float) -> str:
    """``"2 h 05 min"``, ``"3 min 20 s"``, ``"12 s"``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
