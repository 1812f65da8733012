"""One process per folder: two would interleave their histories and replace each other's checkpoints."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from landscape.errors import UsageError
from landscape.records.run_folder import LOCK
from landscape.records.storage import lock, open_to_append, write_all


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context in which no other process trains in an existing folder.

    The lock is the system's, not the file: it ends with the process, so a file that a killed process leaves locks
    nobody out.

    Raises:
        UsageError: Another process, or another thread of this one, trains there.
    """
    place = folder / LOCK
    file = _locked(place)
    try:
        yield
    finally:
        # Removed before it is closed, while nobody else can have locked it. Windows removes no open file.
        with contextlib.suppress(OSError):
            place.unlink()
        file.close()


def refuse_locked(folder: Path) -> None:
    """Raises :class:`UsageError` if another process trains in a folder; no file is created."""
    place = folder / LOCK
    if place.exists():
        with open_to_append(place) as file:
            _require_lock(file, place)


def _locked(place: Path) -> io.FileIO:
    while True:
        file = open_to_append(place)
        try:
            _require_lock(file, place)
            # Between opening and locking, the previous owner may have removed the file: then the lock is worthless.
            if os.path.exists(place) and os.path.samestat(os.fstat(file.fileno()), os.stat(place)):
                file.truncate(0)
                write_all(file, f"{os.getpid()}\n".encode())
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _require_lock(file: io.FileIO, place: Path) -> None:
    if lock(file.fileno()):
        return
    file.seek(0)
    number = file.read(20).decode("ascii", "replace").strip()
    process = f"process {number}" if number.isdigit() else "another process"
    raise UsageError(
        f"{place.parent} is being trained by {process}; wait until it has ended, or name another output (-o)"
    )
