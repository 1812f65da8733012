"""Files that are complete or absent: written under a temporary name, then renamed. Never through a link.

A folder can come from a stranger: a symbolic link in it with the name of one of our files would lead what is written
to any place on the disk. A link is refused, not replaced, because the user may have put it there on purpose.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from landscape.errors import InputError

if sys.platform != "win32":
    import fcntl

# Neither follows a link nor waits for the other end of a pipe; Windows has no such flags.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PART = ".part"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields an empty file beside ``path`` to write to, which takes its place if all went well.

    A killed process leaves the old file or the new one, never a part. The new file has the permissions of the old one,
    and its owner where the system allows that. The folder is made if need be.

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


def parts(path: Path) -> list[Path]:
    """The temporary files of :func:`whole` for that file which killed processes have left."""
    # mkstemp puts eight characters of its own between the name and the ending.
    pattern = re.compile(rf"\.{re.escape(path.name)}\..{{8}}{re.escape(_PART)}")
    names = os.listdir(path.parent) if path.parent.is_dir() else []
    return [path.parent / name for name in sorted(names) if pattern.fullmatch(name)]


def discard_parts(path: Path) -> None:
    """Removes what killed processes have left of :func:`whole` for that file."""
    for part in parts(path):
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file by ``content``, completely or not at all; its folder is made if need be."""
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
        # The flags also protect if the file was made a link since the check.
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
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise InputError(
            f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file, and nothing is written to it "
            "or in its place; name another file"
        )


def lock(descriptor: int) -> bool:
    """Locks an open file for this process alone; returns whether it succeeded.

    The system releases the lock when the file is closed or the process ends, however it ends. Linux keeps it on NFS
    too, if the server does; where locks are not supported, and on Windows, every process succeeds.
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
        # Only root may give files away; the content counts more than the owner.
        with contextlib.suppress(OSError):
            os.chown(name, old.st_uid, old.st_gid)
    os.chmod(name, stat.S_IMODE(old.st_mode) & 0o777)


def _mode_of_new_files(path: Path) -> int:
    """The permissions of a new file in that folder."""
    # os.umask tells the mask only by changing it, for the whole process: meanwhile another thread would make files
    # that everybody may write to. So an empty file is made, looked at and removed.
    probe = path.parent / f".{path.name}.{secrets.token_hex(4)}{_PART}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        os.unlink(probe)
