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
    """
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.stat() if path.exists() else None
    # The system applies its mask to a new file. A file that replaces another stays private until the end.
    place = path.parent / f".{path.name}.{secrets.token_hex(4)}{_PART}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
    os.close(os.open(place, flags, 0o666 if old is None else 0o600))
    try:
        with _named(path):
            yield place
            with place.open("rb+") as file:
                os.fsync(file.fileno())
        if old is not None:
            new = place.stat()
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                # Only root may give files away; the content counts more than the owner.
                with contextlib.suppress(OSError):
                    os.chown(place, old.st_uid, old.st_gid)
            os.chmod(place, stat.S_IMODE(old.st_mode) & 0o777)
        os.replace(place, path)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _named(file: Path | io.FileIO) -> Iterator[None]:
    """Adds the file to the failure of a write, which knows only its number: the disk is full."""
    try:
        yield
    except OSError as failure:
        if failure.errno is not None and failure.filename is None:
            failure.filename = str(file.name if isinstance(file, io.FileIO) else file)
        raise


def parts(path: Path) -> list[Path]:
    """The temporary files of :func:`whole` for that file which killed processes have left."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}{re.escape(_PART)}")
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
    """A regular file, opened to read it and to append to it; it and its folder are made if need be."""
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The flags also protect if the file was made a link since the check.
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o666)
    except OSError as failure:
        if failure.errno == errno.ELOOP:
            refuse_special(path)
        raise
    file = io.FileIO(path, "ab+", opener=lambda *_: descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        refuse_special(path)
    return file


def write_all(file: io.FileIO, content: bytes) -> None:
    """Writes all of the content; the system may take a part of it when the disk is nearly full."""
    with _named(file):
        while content:
            content = content[file.write(content) :]


def refuse_special(path: Path) -> None:
    """Refuses a folder, a symbolic link, a pipe, a socket and a device, where no file of ours may be written."""
    try:  # nothing is opened, as opening a pipe would wait for its other end
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
