"""The progress of a long computation: a bar with an estimate on a terminal, a plain line every 30 s elsewhere."""

import contextlib
import dataclasses
import sys
import time
import typing

import click
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as LiveBar
from rich.table import Column
from rich.text import Text

from landscape.tables.escaping import visible

from .terminal import clear_note, close_door, drawing_stream, switch_notes

if typing.TYPE_CHECKING:
    from landscape.training import Progress

PLAIN_SECONDS = 30.0
# Below this fraction, a forecast made before the start is more accurate than extrapolating the fraction.
EARLY = 0.1
# Tolerance of an estimate, in seconds.
PATIENCE = 2.0


class TimeLeft:
    """The remaining time, as long as no estimate has been proved wrong.

    An estimate is disproved when the work goes on after twice the time that it said, and then none is given until the
    work has taken twice as long: whatever said it is wrong again at once.

    Args:
        expected: A forecast of the seconds, which counts until a tenth of the work is done.
        counted: Whether fractions count equal pieces, some of which an earlier process may have done; otherwise they
            are estimates themselves, of work that begins here.
    """

    def __init__(self, expected: float | None = None, *, counted: bool = False) -> None:
        self._expected = expected
        self._counted = counted
        self._start = time.monotonic()
        self._first: tuple[float, float] | None = None if counted else (self._start, 0.0)
        self._end = None if expected is None else self._start + expected
        self._said: list[tuple[float, float]] = []  # times, and the end that was expected then

    def learn(self, fraction: float | None) -> None:
        """Makes an estimate of the fraction that is done."""
        now = time.monotonic()
        seconds = self._seconds(now, fraction)
        self._said = [
            (then, end) for then, end in self._said if then - self._start >= (now - self._start) / 2
        ]
        disproved = any(now > 2 * end - then + PATIENCE for then, end in self._said)
        self._end = None if seconds is None or disproved else now + seconds
        # At most some fifty are kept, whatever the number of steps.
        if seconds is not None and (not self._said or now - self._said[-1][0] >= 0.02 * (now - self._start)):
            self._said.append((now, now + seconds))

    def _seconds(self, now: float, fraction: float | None) -> float | None:
        # A fraction of 1 can be an estimate itself; as long as the work goes on, its end is unknown.
        if fraction is None or fraction >= 1:
            return None
        # The first piece of counted work takes longer than the others, and begins before it can be seen.
        self._first = self._first or (now, fraction)
        since, before = self._first
        done, spent = (fraction - before) / (1 - before), now - self._start
        if self._expected is not None and done < EARLY and spent < self._expected:
            return self._expected - spent
        return (now - since) * (1 - done) / done if done > 0 else None

    def words(self) -> str:
        """``about 12 s left``; empty if the end is unknown or overdue."""
        left = 0.0 if self._end is None else self._end - time.monotonic()
        return f"about {duration(left)} left" if left >= 0.5 else ""

    def words_or_spent(self) -> str:
        """The same, or the elapsed time if it is unknown."""
        return self.words() or duration(time.monotonic() - self._start)


@dataclasses.dataclass
class _Line:
    """What is shown of one piece of work."""

    title: str
    left: TimeLeft
    words: str = ""
    fraction: float | None = None
    task: TaskID | None = None

    def plain(self) -> str:
        """The line for a pipe."""
        parts = ["" if self.fraction is None else f"{self.fraction:.0%}", self.left.words()]
        numbers = ", ".join(part for part in parts if part)
        return f"{self.title}: {numbers}{' ' if numbers else ''}({self.words})"


class _Left(ProgressColumn):
    """The remaining time, counted down between updates."""

    def render(self, task: Task) -> Text:
        """The column of one line."""
        left: TimeLeft = task.fields["left"]
        return Text(left.words_or_spent(), no_wrap=True)


class Bar(contextlib.AbstractContextManager["Bar"]):
    """The progress of one computation on stderr, as a context manager; its parts have lines of their own.

    Args:
        title: What is computed.
        quiet: Show nothing.
        expected: A forecast of the seconds, see :class:`TimeLeft`.
        counted: Whether fractions count equal pieces, see :class:`TimeLeft`.
    """

    def __init__(
        self, title: str, *, quiet: bool, expected: float | None = None, counted: bool = False
    ) -> None:
        self._lines = {"": _Line(visible(title), TimeLeft(expected, counted=counted))}
        self._quiet = quiet
        self._live: LiveBar | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> "Bar":
        clear_note()
        if not self._quiet and sys.stderr.isatty():
            self._notes_off = switch_notes(off=True)
            console = Console(file=drawing_stream())
            most = Column(max_width=console.width // 3, no_wrap=True, overflow="ellipsis")
            title = TextColumn("{task.description}", markup=False, table_column=most)
            # The words get what is left of the line.
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            words = TextColumn("{task.fields[words]}", markup=False, table_column=rest)
            columns = (title, BarColumn(bar_width=12), TaskProgressColumn(), _Left(), words)
            self._live = LiveBar(*columns, console=console, transient=True, expand=True)
            self._show(self._lines[""])
            self._live.start()
            close_door()  # rich replaces stdout and stderr while the bar is drawn
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            switch_notes(off=self._notes_off)

    def tell(self, words: str, fraction: float | None, *, part: str = "") -> None:
        """Shows a few words and, if known, the fraction done and an estimate of the time left.

        Args:
            words: What is being done.
            fraction: The fraction done.
            part: The name of a part of the work that has a line of its own, in which pieces are counted.
        """
        line = self._lines.setdefault(part, _Line(visible(part), TimeLeft(counted=True)))
        line.words, line.fraction = visible(words), fraction
        line.left.learn(fraction)
        if self._live is not None:
            self._show(line)
            return
        now = time.monotonic()
        if not self._quiet and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            for each in self._lines.values():
                click.echo(each.plain(), err=True)

    def end(self, part: str) -> None:
        """Takes the line of a part away."""
        line = self._lines.pop(part, None)
        if self._live is not None and line is not None and line.task is not None:
            self._live.remove_task(line.task)

    def _show(self, line: _Line) -> None:
        assert self._live is not None
        if line.task is None:
            # Without a total the bar moves to and fro until a fraction is known.
            line.task = self._live.add_task(line.title, total=None, left=line.left, words="")
        total = None if line.fraction is None else 1.0  # None leaves the bar as it is
        completed = None if line.fraction is None else min(line.fraction, 1.0)
        self._live.update(line.task, total=total, completed=completed, words=line.words)


def run_progress(progress: "Progress") -> tuple[str, float]:
    """The progress of a training run as a few words and the fraction done."""
    accuracy = "" if progress.test_accuracy is None else f", test {progress.test_accuracy:.1%}"
    words = f"epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.3g}{accuracy}"
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
