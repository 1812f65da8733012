"""The bytes of a file at one moment, so that its hash and everything read from it belong together.

A checkpoint may be replaced, or written over, while it is being read. Then weights, check sums and hash would be of
different files, and a file that shrinks while it is mapped into memory ends the process.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PosixPath

from landscape.errors import InputError

COPIED_BYTES = 2**30
"""Up to this size a file is copied into memory; a larger one is mapped where it is."""

_CHUNK = 2**22
_DESCRIPTORS = Path("/proc/self/fd")


class _Named(PosixPath):
    """A path that opens one file and is printed as another, so that messages name the file that the user named."""

    content = ""

    def __fspath__(self) -> str:
        return self.content or str(self)


@contextlib.contextmanager
def pinned(file: Path) -> Iterator[Path]:
    """A path that opens the bytes of a regular file as they are now, and is printed as the name of the file.

    Up to :data:`COPIED_BYTES` they are copied into memory that nobody else can write to. Tensors may be mapped from
    there, and keep it alive. A larger file is mapped as it lies on disk: replacing it does no harm, and writing to it
    is refused at the end.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open(file, "rb", opener=_without_waiting))
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise InputError(f"{file} is not a regular file any more; name another file")
        copy = _memory() if before.st_size <= COPIED_BYTES else None
        if copy is not None:
            stack.callback(os.close, copy)
            size = 0
            # No more than there was at first: a file that grows as fast as it is read would have no end.
            while size < before.st_size and (chunk := source.read(min(_CHUNK, before.st_size - size))):
                size += os.write(copy, chunk)
                source.seek(size)  # a write may take a part of the chunk
            yield _path(file, copy)
            return
        yield _path(file, source.fileno())
        # Without a path to a descriptor, readers have opened whatever the name has led to.
        now = os.fstat(source.fileno()) if _DESCRIPTORS.is_dir() else file.stat()
        if _mark(now) != _mark(before):
            raise InputError(
                f"{file} was written to while it was read; run the command again once it is whole"
            )


def _memory() -> int | None:
    """A file in memory that no other process can open; ``None`` where the system has none."""
    if not hasattr(os, "memfd_create") or not _DESCRIPTORS.is_dir():
        return None
    try:
        return os.memfd_create("checkpoint")
    except OSError:  # forbidden in some containers
        return None


def _path(file: Path, descriptor: int) -> Path:
    if not _DESCRIPTORS.is_dir():
        return file
    path = _Named(file)
    path.content = str(_DESCRIPTORS / str(descriptor))
    return path


def _mark(status: os.stat_result) -> tuple[int, int, int, int]:
    # The time of the status is left out: that of a file that was replaced, and is still open here, changes too.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _without_waiting(name: str, flags: int) -> int:
    # The file may have become a pipe, and opening that would wait for a writer.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
