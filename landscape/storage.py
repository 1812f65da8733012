"""Files that are whole or absent: written under a temporary name, then renamed."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` to write to, which takes its place if all went well.

    A killed process leaves the old file or the new one, never a part.

    Args:
        path: The file; its folder is made if need be.

    Yields:
        An empty file in the same folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file by ``content``, whole or not at all.

    Args:
        path: The file; its folder is made if need be.
        content: All of it.
    """
    with whole(path) as place:
        place.write_bytes(content)


def append_line(path: Path, line: str) -> None:
    """Appends one line in a single write; a torn last line left by a killed process is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_sums(sums: Iterable[str]) -> str:
    """One sum for several files: the SHA-256 of theirs in hexadecimal, one behind the other."""
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
