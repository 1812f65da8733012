"""A file as it is at one moment: its hash and everything that is read of it come from the same bytes.

A checkpoint may be replaced, or written over, while it is being read. Then weights, check sums and the hash would be
of different files, and a file that shrinks while it is mapped into memory ends the process.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PosixPath

from landscape.errors import InputError

COPIED_BYTES = 2**30
"""Up to this size a file is copied into memory while it is hashed; a larger one is mapped where it is."""

_CHUNK = 2**22
_DESCRIPTORS = Path("/proc/self/fd")


class _Named(PosixPath):
    """A path that opens one file and is shown as another, so that messages name the file that the user named."""

    content = ""

    def __fspath__(self) -> str:
        return self.content or str(self)


@dataclass(frozen=True)
class Pinned:
    """The bytes of a file.

    Attributes:
        file: Opens these bytes, whatever has happened to the file; shown by the name that was given.
        sha256: Of these bytes.
        size: Their number.
    """

    file: Path
    sha256: str
    size: int


@contextlib.contextmanager
def pinned(file: Path) -> Iterator[Pinned]:
    """Holds the bytes of a file for as long as it is being opened.

    Up to :data:`COPIED_BYTES` they are read once, into memory that nobody else can write to. Tensors may be mapped
    from there, and keep it alive. A larger file is mapped as it lies on disk: replacing it does no harm, and writing
    to it is noticed at the end.

    Args:
        file: A regular file.

    Raises:
        InputError: The file was written to meanwhile, or is not a regular one any more.
        OSError: It cannot be read.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open(file, "rb", opener=_without_waiting))
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise InputError(f"{file} is not a regular file any more; name another file")
        copy = _memory() if before.st_size <= COPIED_BYTES else None
        if copy is not None:
            stack.callback(os.close, copy)
            digest, size = hashlib.sha256(), 0
            # No more than there was at first: a file that grows as fast as it is read would have no end.
            while size < before.st_size and (chunk := source.read(min(_CHUNK, before.st_size - size))):
                chunk = chunk[: os.write(copy, chunk)]
                source.seek(size + len(chunk))
                digest.update(chunk)
                size += len(chunk)
            yield Pinned(_path(file, copy), digest.hexdigest(), size)
            return
        digest_of_all = hashlib.file_digest(source, "sha256").hexdigest()
        yield Pinned(_path(file, source.fileno()), digest_of_all, before.st_size)
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
    """What a write to a file changes. The time of its status is left out: a replaced file's changes too."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _without_waiting(name: str, flags: int) -> int:
    """Opens without waiting for a writer, should the file have become a pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
