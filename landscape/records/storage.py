"""Files that are whole or absent: written under a temporary name, then renamed. Never through a link.

A folder can come from a stranger: a symbolic link in it that is called as one of our files would lead what is written
to any place on the disk. A link is refused, not replaced, because the user may have put it there on purpose.
"""

import contextlib
import errno
import hashlib
import io
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from landscape.errors import InputError

if sys.platform != "win32":
    import fcntl

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Neither follows a link nor waits for the other end of a pipe; Windows has no such flags."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` to write to, which takes its place if all went well.

    A killed process leaves the old file or the new one, never a part. The new file has the permissions of the old one,
    and its owner where the system allows that.

    Args:
        path: The file; its folder is made if need be.

    Yields:
        An empty file in the same folder.

    Raises:
        InputError: The path is a symbolic link, a pipe or a device.
        IsADirectoryError: It is a folder.
    """
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        _take_over_permissions(path, name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


_PART = ".part"


def parts(path: Path) -> list[Path]:
    """What killed processes have left of :func:`whole` for that file."""
    # mkstemp puts eight characters of its own between the name and the ending.
    start = f".{path.name}."
    length = len(start) + 8 + len(_PART)
    names = os.listdir(path.parent) if path.parent.is_dir() else []
    found = [name for name in names if name.startswith(start) and name.endswith(_PART)]
    return [path.parent / name for name in sorted(found) if len(name) == length]


def discard_parts(path: Path) -> None:
    """Removes what killed processes have left of :func:`whole` for that file."""
    for part in parts(path):
        part.unlink(missing_ok=True)


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
    with open_to_append(path) as file:
        torn = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        # Half a character, which no encoding has, becomes the escape that JSON has for it.
        write_all(file, (b"\n" if torn else b"") + line.encode("utf-8", "backslashreplace") + b"\n")
        os.fsync(file.fileno())


def open_to_append(path: Path) -> io.FileIO:
    """A regular file, opened to read it and to append to it; it and its folder are made if need be.

    Raises:
        InputError: The path is a symbolic link, a pipe or a device.
    """
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The flags hold also if the file was made a link since it was looked at.
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o666)
    except OSError as failure:
        if failure.errno == errno.ELOOP:
            refuse_special(path)
        raise
    file = io.FileIO(descriptor, "ab+")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        refuse_special(path)
    return file


def write_all(file: io.FileIO, content: bytes) -> None:
    """Writes all of the content; the system may take a part of it when the disk is nearly full."""
    while content:
        content = content[file.write(content) :]


def refuse_special(path: Path) -> None:
    """Refuses a path that is no place for a file of ours; nothing is opened, so that a pipe is not waited for.

    Raises:
        InputError: The path is a symbolic link, a pipe, a socket or a device.
        IsADirectoryError: It is a folder.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise InputError(
            f"{path} is a symbolic link to {os.readlink(path)}, and nothing is written through a link or in its place; "
            "name the file itself, or remove the link"
        )
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path} is {_kind(mode)}, not a regular file, and nothing is written to it or in its place; "
            "name another file"
        )


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def lock(descriptor: int) -> bool:
    """Locks an open file for this process alone; returns whether it could.

    The system gives the lock back when the file is closed or the process ends, however it ends. Linux keeps it on NFS
    too, if the server does; where locks are not supported, and on Windows, every process is given one.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as failure:
        if failure.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
    return True


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_sums(sums: Iterable[str]) -> str:
    """One sum for several files: the SHA-256 of theirs in hexadecimal, one behind the other."""
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def _take_over_permissions(path: Path, name: str) -> None:
    """Gives the temporary file the permissions and the owner of the file that it is to replace."""
    try:
        old = path.lstat()
    except FileNotFoundError:
        os.chmod(name, _mode_of_new_files(path))
        return
    new = os.stat(name)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(
            OSError
        ):  # only root may give files away; the content counts more than the owner
            os.chown(name, old.st_uid, old.st_gid)
    os.chmod(name, stat.S_IMODE(old.st_mode) & 0o777)


def _mode_of_new_files(path: Path) -> int:
    """The permissions that a new file gets there.

    The system tells the mask only when it is changed, for the whole process: meanwhile another thread would make files
    that everybody may write to. So an empty file is made, looked at and removed.
    """
    probe = path.parent / f".{path.name}.{secrets.token_hex(4)}{_PART}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        os.unlink(probe)
