"""The progress of a long computation: a bar with an estimate on a terminal, a plain line every 30 s elsewhere."""

import contextlib
import sys
import time
import typing

import click
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as LiveBar

from landscape.tables.escaping import visible

from .terminal import close_door, drawing_stream

if typing.TYPE_CHECKING:
    from landscape.training import Progress

PLAIN_SECONDS = 30.0
# Below this fraction, a forecast made before the start is more accurate than extrapolating the fraction.
EARLY = 0.1


class Bar(contextlib.AbstractContextManager["Bar"]):
    """The progress of one computation on stderr, as a context manager.

    Args:
        title: What is computed.
        quiet: Show nothing.
        expected: A forecast of the seconds it takes, shown until a tenth of the work is done.
    """

    def __init__(self, title: str, *, quiet: bool, expected: float | None = None) -> None:
        self._expected = expected
        self._title = visible(title)
        self._quiet = quiet
        self._live: LiveBar | None = None
        self._task = TaskID(0)
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> "Bar":
        if not self._quiet and sys.stderr.isatty():
            texts = ("{task.description}", "{task.fields[left]}", "{task.fields[words]}")
            title, left, words = (TextColumn(text, markup=False) for text in texts)
            columns = (title, BarColumn(bar_width=20), TaskProgressColumn(), left, words)
            self._live = LiveBar(*columns, console=Console(file=drawing_stream()), transient=True)
            expected = "" if self._expected is None else f"about {duration(self._expected)}"
            # Without a total the bar moves to and fro until a fraction is known.
            self._task = self._live.add_task(self._title, total=None, left=expected, words="")
            self._live.start()
            close_door()  # rich replaces stdout and stderr while the bar is drawn
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, words: str, fraction: float | None) -> None:
        """Shows a few words and, if known, the fraction done and an estimate of the time left."""
        words = visible(words)
        seconds = self._seconds_left(fraction)
        left = "" if seconds is None else f"about {duration(seconds)} left"
        if self._live is not None:
            total = None if fraction is None else 1.0  # None leaves the bar as it is
            completed = None if fraction is None else min(fraction, 1.0)
            self._live.update(self._task, total=total, completed=completed, left=left, words=words)
            return
        now = time.monotonic()
        if self._quiet or now - self._last_line < PLAIN_SECONDS:
            return
        self._last_line = now
        parts = ["" if fraction is None else f"{fraction:.0%}", left]
        numbers = ", ".join(part for part in parts if part)
        click.echo(f"{self._title}: {numbers}{' ' if numbers else ''}({words})", err=True)

    def _seconds_left(self, fraction: float | None) -> float | None:
        # A fraction of 1 can be an estimate itself; as long as the work goes on, its end is unknown.
        if fraction is None or fraction >= 1:
            return None
        spent = time.monotonic() - self._start
        # A forecast that has passed was wrong: what is left is unknown, not zero.
        if self._expected is not None and fraction < EARLY and spent < self._expected:
            return self._expected - spent
        return spent * (1 - fraction) / fraction if fraction > 0 else None


def run_progress(progress: "Progress") -> tuple[str, float]:
    """The progress of a training run as a few words and the fraction done."""
    accuracy = "" if progress.test_accuracy is None else f", test {progress.test_accuracy:.1%}"
    words = f"epoch {progress.epoch} of {progress.epochs}, loss {progress.loss:.4g}{accuracy}"
    return words, progress.step / progress.steps


def duration(seconds: float) -> str:
    """``"2 h 05 min"``, ``"3 min 20 s"``, ``"12 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def brief(seconds: float) -> str:
    """``"0.04 s"``, ``"2.3 s"``, ``"12 s"``, ``"3 min 20 s"``."""
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
