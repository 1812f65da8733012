"""Limits for every reader of files: 1 GB of memory beyond the size of the file, and about 10 s.

A stranger's file can claim any size: a header that names 8 TB, zeros that compress a thousandfold, a name with sixty
thousand dots, a pipe that never ends. Every reader of this package looks at what a file claims before it believes it;
the numbers are here and nowhere else.
"""

import contextlib
import io
import math
import stat
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from landscape.errors import InputError

BEYOND = 1 << 30
"""Bytes of memory that a file may take beyond its own size."""

LONGEST_TEXT = 64 << 20
"""Bytes of JSON, such as 25,000 records; see :func:`read_bytes` for their contents."""

LONGEST_RECIPE = 16 << 10
"""Bytes of TOML: keys of many parts take the square of their length."""

MOST_POINTS = 1 << 22
"""Values of one quantity of a surface, such as 2048 × 2048."""

LONGEST_NAME, MOST_DOTS = 1024, 64
"""Characters and dots in the name of a tensor: names are compared by all of their ends."""

LONGEST_HEADER = 8 << 20
"""Bytes of the header of safetensors, some 100,000 tensors, or of the list of what a zip archive holds."""

# Bytes that a dictionary with its first key, a list and a further value take at most in Python.
_OBJECTS = {b"{": 400, b"[": 100, b",": 70}
_NUMPY_HEADER = 10_000  # bytes; NumPy's own limit
_WIDENED = (
    12  # times the size of the file: bytes that become 64 bits wide take 9, the rest is room for compression
)
_SPARSE = 1 << 10


def check_regular(path: Path) -> int:
    """The size of a file in bytes; refuses a folder, a pipe, a device, and a large file that is nearly all holes."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise InputError(f"{path} cannot be opened: {reason}; name another file") from failure
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a folder; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{path} is not a regular file but a pipe or a device; copy what it gives to a file first"
        )
    on_disk = 512 * getattr(status, "st_blocks", status.st_size)
    if status.st_size > BEYOND and on_disk < status.st_size / _SPARSE:
        raise InputError(
            f"{path} claims {status.st_size:,} bytes, of which {on_disk:,} are on disk; it was not written to the end: "
            "take another copy"
        )
    return status.st_size


def read_text(path: Path) -> str:
    """The text in a file of JSON, with U+FFFD for bytes that are no UTF-8."""
    return read_bytes(path).decode("utf-8", errors="replace")


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file of ours, of at most :data:`LONGEST_RECIPE` bytes."""
    content = read_bytes(path, most=LONGEST_RECIPE)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as failure:
        raise InputError(f"{path} is not TOML: {failure}") from failure


def read_bytes(path: Path, *, most: int = LONGEST_TEXT) -> bytes:
    """The bytes of a file of JSON or TOML that has no more than ``most``, and that fits as Python's objects."""
    size = check_regular(path)
    if size > most:
        raise InputError(f"{path} has {size:,} bytes, more than the {most:,} that such a file may have")
    try:
        with path.open("rb") as file:
            content = file.read(most)
    except OSError as failure:
        raise InputError(f"{path} cannot be read: {failure.strerror}; name another file") from failure
    # The text itself is in memory three times: as bytes, as characters and as lines.
    if 3 * len(content) + sum(cost * content.count(mark) for mark, cost in _OBJECTS.items()) > BEYOND:
        raise InputError(f"{path} would take more than {BEYOND:,} bytes beyond its own; no file of ours does")
    return content


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns a lack of memory or stack into an error about the file, which should be a ``what``, such as a surface."""
    try:
        yield
    except (MemoryError, RecursionError, OverflowError) as failure:
        raise InputError(
            f"{path} cannot be read as a {what}: it asks for more memory than there is; it is damaged: take another "
            "copy"
        ) from failure


def check_names(path: Path, names: Iterable[object]) -> None:
    """Raises :class:`InputError` for names of tensors that are longer or deeper than any network's."""
    for name in names:
        if isinstance(name, str) and (len(name) > LONGEST_NAME or name.count(".") > MOST_DOTS):
            raise InputError(
                f"{path}: a name of {len(name):,} characters and {name.count('.'):,} dots begins with {name[:40]!r}; "
                f"no network has more than {LONGEST_NAME:,} characters or {MOST_DOTS} dots in one: the file is damaged"
            )


def check_points(path: Path, name: str, count: int) -> None:
    """Raises :class:`InputError` if a quantity of a surface has more values than :data:`MOST_POINTS`."""
    if count > MOST_POINTS:
        raise InputError(
            f"{path} claims {count:,} values of {name}, more than the {MOST_POINTS:,} of the largest surface; it is "
            "damaged, or no surface"
        )


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an ``.npz``; empty for any other file."""
    try:
        with _opened(path, "zip archive") as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except InputError:
        return []


def read_arrays(path: Path, *, what: str) -> dict[str, NDArray[Any]]:
    """The arrays in an ``.npz``, every byte checked against the archive's sums.

    Python objects, and arrays that would take more memory than :data:`BEYOND`, are refused. Messages call the file a
    ``what``.
    """
    left = _WIDENED * check_regular(path) + BEYOND
    with _opened(path, what) as archive, reading(path, what):
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        declared = sum(member.file_size for member in members.values())
        if declared > left:
            raise InputError(f"{path} would unpack to {declared / 2**30:.0f} GiB; this is not a {what}")
        arrays: dict[str, NDArray[Any]] = {}
        for name, member in members.items():
            try:
                arrays[name] = _array(archive, member)
            except Exception as failure:  # zlib and lzma have errors of their own
                reason = " ".join(str(failure).split())[:160]
                raise InputError(f"{path} is damaged or not a {what} ({name}: {reason})") from failure
            left -= arrays[name].size * _converted(arrays[name].dtype)
            if left < 0:
                raise InputError(
                    f"{path} would take more than {BEYOND:,} bytes beyond its own; this is no {what}"
                )
    return arrays


def _converted(dtype: "np.dtype[Any]") -> int:
    """Bytes that a number may take while it is converted: integers become 64 bits wide, except those of pictures."""
    whole_number = dtype.kind in "bi" or (dtype.kind == "u" and dtype.itemsize > 1)
    return max(3 * dtype.itemsize, dtype.itemsize + 8 if whole_number else 0)


class Cautious(io.FileIO):
    """A file that refuses to read more than :data:`LONGEST_HEADER` at once: a list of members of ``zipfile``."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to so many bytes; raises ``BadZipFile`` for more than a list may have."""
        if size is not None and size > LONGEST_HEADER:
            raise zipfile.BadZipFile(f"its list of parts has {size:,} bytes")
        return super().read(size)


@contextlib.contextmanager
def _opened(path: Path, what: str) -> Iterator[zipfile.ZipFile]:
    check_regular(path)
    with contextlib.ExitStack() as stack:
        try:
            file: IO[bytes] = stack.enter_context(Cautious(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as failure:
            raise InputError(f"{path} is damaged or not a {what} ({failure})") from failure
        yield archive


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, after a check that its header agrees with the size of the member."""
    # NumPy allocates what the header claims before it reads, so the header is read once beforehand.
    with archive.open(member) as stream:
        start = stream.read(12)
        version = npy.read_magic(io.BytesIO(start))
        fields = 10 if version == (1, 0) else 12  # where the header begins: its length has 2 bytes or 4
        length = int.from_bytes(start[8:fields], "little")
        if version > (2, 0) or length > _NUMPY_HEADER:
            raise ValueError(f"its header has {length:,} bytes, version {version}")
        head = io.BytesIO(start[8:] + stream.read(max(0, fields + length - len(start))))
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(head)
    if dtype.kind not in "biufcSU" or dtype.hasobject:
        raise ValueError(f"it holds {dtype}, not numbers or text")
    count, there = math.prod(shape), member.file_size - fields - length
    if count * dtype.itemsize != there or count > max(there, 1):
        raise ValueError(f"its header claims {count:,} values of {dtype}, but {there:,} bytes are there")
    with archive.open(member) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        stream.read(1)  # zipfile checks the sum at the end
    return array
