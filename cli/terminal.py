"""The door through which everything is printed: nothing that comes from a file reaches the terminal as a command."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from landscape.tables.escaping import for_terminal


class PlainStream:
    """A stream of text that escapes what a terminal would act on, whoever writes it.

    A new message, a warning of another library and a traceback are safe by themselves. A character that the encoding
    of the stream lacks is escaped, too, where Python would raise.

    Args:
        stream: Where the text goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, escaped."""
        if not isinstance(text, str):
            raise TypeError(f"text is written here, not {type(text).__name__}")
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(for_terminal(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes several pieces of text, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would pass unseen
            raise AttributeError("this stream is of text only")
        return getattr(self._stream, name)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """A context in which stdout and stderr escape what a terminal would act on."""
    before = sys.stdout, sys.stderr
    close_door()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


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
