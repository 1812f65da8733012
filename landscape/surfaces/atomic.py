"""Files that are either there whole or not there: a killed process leaves no half of one."""

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes ``data`` under a temporary name beside ``path`` and renames it; missing folders are made.

    Args:
        path: The file; one of that name is replaced only when the new one is on disk.
        data: All of its bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
