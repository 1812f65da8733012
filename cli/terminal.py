"""Output streams that escape what a terminal would act on, so that no text from a file can control it."""

import contextlib
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from landscape.tables.escaping import for_terminal, visible


class PlainStream:
    """A stream of text that escapes what a terminal would act on, whoever writes it.

    New messages, warnings of other libraries and tracebacks are covered without any care of their own. A character
    that the encoding of the stream lacks is escaped as well, where Python would raise.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, escaped."""
        if not isinstance(text, str):
            raise TypeError(f"text is expected, not {type(text).__name__}")
        clear_note()
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(for_terminal(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes several pieces of text, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would bypass the escaping
            raise AttributeError("this stream accepts text only")
        return getattr(self._stream, name)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """A context in which stdout and stderr escape what a terminal would act on."""
    before, _Note.off = (sys.stdout, sys.stderr, _Note.off), False
    close_door()
    try:
        yield
    finally:
        clear_note()
        sys.stdout, sys.stderr, _Note.off = before


def close_door() -> None:
    """Puts the escaping in front of stdout and stderr, wherever they lead now."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, PlainStream):
            setattr(sys, name, PlainStream(stream))


def drawing_stream() -> TextIO:
    """The terminal behind stderr, for a progress bar, which moves the cursor and escapes its words itself."""
    stream = sys.stderr
    return stream._stream if isinstance(stream, PlainStream) else cast(TextIO, stream)


class _Note:
    """A line on the terminal that the next output replaces."""

    width = 0
    off = False


def note(text: str) -> None:
    """Shows a line on a terminal, which the next output replaces; shows nothing in a pipe.

    The first of them is shown before torch is imported, which takes seconds.
    """
    stream = drawing_stream()
    if _Note.off or sys.stderr is None or not stream.isatty():
        return
    clear_note()
    room, line = shutil.get_terminal_size().columns - 1, ""
    for character in visible(text):
        width = 1 if character.isascii() else 2
        if _Note.width + width > room:  # a line that wraps could not be taken back
            break
        _Note.width += width
        line += character
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "replace").decode(encoding))
    stream.flush()


def clear_note() -> None:
    """Takes the note away."""
    if _Note.width:
        stream = drawing_stream()
        stream.write(f"\r{' ' * _Note.width}\r")
        stream.flush()
        _Note.width = 0


def switch_notes(*, off: bool) -> bool:
    """Hides or shows notes from now on; returns whether they were hidden before."""
    before = _Note.off
    if off:
        clear_note()
    _Note.off = off
    return before
