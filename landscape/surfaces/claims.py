"""Pieces of work that several processes claim in a folder, without talking to each other.

A process creates a file about itself. It claims a piece of work by a hard link to that file, under the name of the
piece and a number, which a file system lets one process alone create. If the owner of a claim has ended, the piece is
claimed again under the next number; so of many processes that see an abandoned claim one takes it over, and no claim is
ever removed. All links are one file: a process that lives renews its time, and with it all its claims.

Two processes may still compute the same piece, where one was wrongly believed dead. Whoever uses claims makes that
harmless: both have the same result, and the first that is published stays.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Self

from landscape.errors import InputError
from landscape.records.reading import read_bytes
from landscape.records.storage import refuse_special

SILENCE = 180.0
"""Seconds without a sign of life after which a process of another machine counts as ended.

A network file system may show a time that is a minute old.
"""
_BEAT = 15.0
_LONGEST_PAUSE = 0.5
_CLAIM = re.compile(r"(?P<name>.+)\.(?P<number>\d+)\.claim")


class FolderGone(Exception):
    """The folder was removed, because all its work is done, or by the user."""


class Claims:
    """This process among those that share the work of a folder; a context, at whose end its claims are given back.

    Args:
        folder: The folder. If it is empty at the end, it is removed.
        create: Whether to make the folder if it does not exist.

    Raises:
        FolderGone: It does not exist and is not to be made.
        InputError: Its file system cannot create a file exclusively.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        self.token = secrets.token_hex(4)
        self._me = folder / f"{self.token}.worker"
        if folder.is_symlink():  # as for files, nothing is written through a link
            refuse_special(folder)
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise FolderGone
        try:
            _require_exclusive_creation(folder, self.token)
            self._create(self._me, json.dumps(_identity()).encode())
        except FileNotFoundError:
            raise FolderGone from None
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._heart.join()
        with contextlib.suppress(OSError):
            os.utime(self._me, (0, 0))  # the sign, on all its claims, that they are given back
            self._me.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # fails if work has been begun

    def names(self) -> set[str]:
        """The names of all files of the folder."""
        try:
            return set(os.listdir(self.folder))
        except FileNotFoundError:
            raise FolderGone from None

    def claim(self, name: str, *, names: Collection[str] | None = None, despite: bool = False) -> bool:
        """Claims a piece of work that nobody has, or whose owner has ended; returns whether this process has it now.

        Args:
            name: The piece.
            names: The result of :meth:`names`, if it is known.
            despite: Also claim it from an owner who lives.
        """
        number = self.claimed(self.names() if names is None else names).get(name, -1)
        if number >= 0:
            owner = self.folder / f"{name}.{number}.claim"
            if self._is_mine(owner):
                return True
            if not despite and not self._has_ended(owner):
                return False
        return self._linked(self.folder / f"{name}.{number + 1}.claim")

    @staticmethod
    def claimed(names: Collection[str]) -> dict[str, int]:
        """The pieces that have been claimed, with the numbers of their last claims."""
        numbers: dict[str, int] = {}
        for match in filter(None, map(_CLAIM.fullmatch, names)):
            numbers[match["name"]] = max(int(match["number"]), numbers.get(match["name"], -1))
        return numbers

    def publish(self, name: str, content: bytes = b"") -> bool:
        """Creates a file with this content, unless it is there; returns whether this process did."""
        part = self.folder / f".{name}.{self.token}.part"
        try:
            self._create(part, content)
            with contextlib.suppress(FileExistsError):
                os.link(part, self.folder / name)
            # A server that answers late may report its own link as one that was there before.
            return part.stat().st_nlink > 1
        except FileNotFoundError:
            raise FolderGone from None
        finally:
            part.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """The content of a published file; ``None`` if there is none."""
        place = self.folder / name
        try:
            refuse_special(place)
            return read_bytes(place) if place.exists() else None
        except FileNotFoundError:
            return None

    def once(self, name: str, compute: Callable[[], bytes], *, waiting: Callable[[], None]) -> bytes:
        """The content of a published file that one process computes, while the others wait.

        Args:
            name: The file, and the claim.
            compute: Its content.
            waiting: Called now and then while another process computes it.
        """
        pause = Pause()
        while (content := self.read(name)) is None:
            if self.claim(name):
                # Published since it was read, by a process that has ended well.
                if self.read(name) is None:
                    self.publish(name, compute())
                continue
            waiting()
            pause()
        return content

    def _linked(self, claim: Path) -> bool:
        try:
            os.link(self._me, claim)
        except FileExistsError:
            return self._is_mine(claim)  # a server that answers late, as above
        except FileNotFoundError:
            raise FolderGone from None
        return True

    def _is_mine(self, claim: Path) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samefile(claim, self._me)
        return False

    def _has_ended(self, claim: Path) -> bool:
        """Whether the process that made a claim has ended, or is silent."""
        try:
            renewed, content = claim.stat().st_mtime, claim.read_bytes()
        except FileNotFoundError:
            raise FolderGone from None
        if renewed < 1:
            return True
        with contextlib.suppress(ValueError, KeyError, TypeError):
            owner: Any = json.loads(content)
            if owner["place"] == _place():
                return not is_running(owner["pid"], owner["started"])
        try:
            # Now, by the clock of the file system: those of two machines differ.
            os.utime(self._me)
            return self._me.stat().st_mtime - renewed > SILENCE
        except FileNotFoundError:
            raise FolderGone from None

    def _beat(self) -> None:
        while not self._left.wait(_BEAT):
            try:
                os.utime(self._me)
            except FileNotFoundError:
                return
            except OSError:  # a server that is away for a moment
                continue

    @staticmethod
    def _create(place: Path, content: bytes) -> None:
        with open(place, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


class Pause:
    """Called to wait, at first for a moment and then longer."""

    def __init__(self) -> None:
        self._seconds = 0.01

    def __call__(self) -> None:
        """Waits."""
        time.sleep(self._seconds)
        self._seconds = min(1.5 * self._seconds, _LONGEST_PAUSE)


def is_running(pid: int, started: str | None) -> bool:
    """Whether a process of this machine lives: the one that ``started`` then, not another that has its number."""
    state, since = _status(pid)
    if state is not None:
        return state not in ("Z", "X") and since == started
    if _status("self")[0] is not None:  # the system lists its processes, and this is none of them
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _status(pid: int | str) -> tuple[str | None, str | None]:
    """State and start of a process, in the words of Linux; ``None`` twice if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, None
    fields = text.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return fields[0], fields[19]


def _identity() -> dict[str, object]:
    return {"place": _place(), "pid": os.getpid(), "started": _status("self")[1]}


def _place() -> list[str]:
    """What two processes share if the number of a process means the same to both."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # containers of one machine number their own
    return parts


def _require_exclusive_creation(folder: Path, token: str) -> None:
    """Refuses a file system on which two processes could claim the same, or see half a file."""
    first, second = folder / f".{token}.1", folder / f".{token}.2"
    problem = None
    try:
        first.touch(exist_ok=False)  # raises where nothing can be written
        try:
            os.link(first, second)
        except FileNotFoundError:
            raise
        except OSError as failure:
            problem = f"it has no hard links ({failure.strerror or failure})"
        else:
            if _succeeds_again(lambda: first.touch(exist_ok=False), lambda: os.link(first, second)):
                problem = "it lets two processes create the same file"
            second.unlink()
            second.write_bytes(b"new")
            os.replace(second, first)
            if first.read_bytes() != b"new":
                problem = "it does not replace a file by another"
    finally:
        for place in (first, second):
            with contextlib.suppress(OSError):
                place.unlink()
    if problem is not None:
        raise InputError(
            f"{folder} is on a file system where processes cannot share work: {problem}; choose an output on another "
            "one (-o), or give each process its own points and output (--shard I/N) and combine them (--merge)"
        )


def _succeeds_again(*creations: Callable[[], None]) -> bool:
    """Whether any creation of a file that exists succeeds."""
    for create in creations:
        try:
            create()
        except FileExistsError:
            continue
        return True
    return False
