"""The journal of a surface that is being computed: an append-only file of finished points.

The first line describes the run. Each further line is one point, ``[index, loss, accuracy, sum]``, with as many numbers
as the first line has ``values``, and the CRC-32 of the line without it; the sum of the first line is its ``crc32``. A
process can be killed at any moment: at worst the last line is torn, and that point is computed again. Losses that are
not finite are written as ``NaN`` and ``Infinity``.

The journal is locked while it is open, so that only one process computes a surface, and a killed one blocks nobody.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from landscape.errors import InputError, UsageError
from landscape.records.landmarks import Landmarks
from landscape.records.reading import check_points, read_bytes
from landscape.records.storage import lock, open_to_append, refuse_special, write_all
from landscape.records.surface import Surface
from landscape.records.surface_meta import misfit

SCHEMA = "landscape.surface-journal/2"

Value = tuple[float | None, ...]

_SAME_LOSS = (
    1e-5  # the order of a parallel sum differs between runs, and with it the last digits of the centre's loss
)


class Journal:
    """The journal of one run, opened to read finished points and to append new ones.

    Args:
        path: The file; ``None`` keeps the points only in memory.
        header: The run: coordinates ``x`` and ``y``, ``meta``, the names of the ``values``, ``markers`` and
            ``trajectory`` (fields of :class:`Landmarks`). An existing journal is resumed if it has the same header.
            The journal of another run, a damaged one, and one in use are refused and left as they are.
    """

    def __init__(self, path: Path | None, header: Mapping[str, object]) -> None:
        self.header: Mapping[str, Any] = as_read({"schema": SCHEMA, **header})
        self.values: dict[int, Value] = {}
        self._file = None
        if path is None:
            return
        self._file = open_to_append(path)
        try:
            if not lock(self._file.fileno()):
                raise UsageError(
                    f"{path}: another process is computing this surface; wait until it has ended, or choose another "
                    "output (-o)"
                )
            first = _summed(self.header)
            content, intact = _read(path), 0
            # A torn first line is the beginning of the one that this run would write; the file then starts anew.
            if not first.startswith(content):
                stored, self.values, intact = _parse(path, content)
                refuse_another_run(path, stored, self.header)
                self.header = stored
            self._file.truncate(intact)
            if intact == 0:
                write_all(self._file, first)
        except BaseException:
            self._file.close()
            raise

    def to_disk(self) -> None:
        """Returns when the points are on disk, for other machines too, and not only in the memory of the system."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def append(self, index: int, value: Value) -> None:
        """Adds the point of that flat index; it is on disk when the call returns."""
        self.values[index] = value
        if self._file is not None:
            write_all(self._file, _summed([index, *value]))

    def surface(self) -> Surface:
        """The surface as far as it is computed."""
        return assembled(self.header, self.values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def read_journal(path: str | Path) -> Surface:
    """The surface of an unfinished run, NaN where not yet computed; see ``Surface.preview``."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such journal")
    header, values, _ = _parse(path, _read(path))
    try:
        problem = misfit(header.get("meta"))
        if problem is not None:
            raise ValueError(problem)
        return assembled(header, values)
    except (ValueError, TypeError, KeyError) as failure:
        raise InputError(f"{path} is damaged in line 1 ({failure}); delete it to start over") from failure


def read_points(path: Path, header: Mapping[str, Any]) -> dict[int, Value]:
    """The points in a journal of the run with this header, which may be open in another process.

    Raises:
        InputError: It is the journal of another run, or damaged.
    """
    content = _read(path)
    if b"\n" not in content:
        return {}
    stored, values, _ = _parse(path, content)
    refuse_another_run(path, stored, as_read({"schema": SCHEMA, **header}))
    return values


def header_line(content: Mapping[str, Any]) -> bytes:
    """One line with its sum, as the first of a journal."""
    return _summed(content)


def as_read(content: object) -> Any:
    """The content as it comes back from a file: tuples become lists."""
    return json.loads(_line(content))


def parsed_header(path: Path, line: bytes, *, what: str) -> dict[str, Any]:
    """The content of such a line; raises :class:`InputError` if it is not whole, and names what it should be."""
    try:
        content = _checked(line)
        if not isinstance(content, dict):
            raise ValueError("a list")
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged or not {what}; delete its folder to start over") from None
    return content


def stored_header(path: Path) -> Mapping[str, Any] | None:
    """The first line of a journal; ``None`` if there is none yet, or no such file."""
    refuse_special(path)
    content = _read(path)
    return _parse(path, content)[0] if b"\n" in content else None


def _read(path: Path) -> bytes:
    return read_bytes(path) if path.exists() else b""


def _line(content: object) -> bytes:
    # A lone surrogate, which no encoding has, becomes the escape that JSON has for it.
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _summed(content: list[Any] | Mapping[str, Any]) -> bytes:
    """The line of a content with its sum."""
    crc = zlib.crc32(_line(content))
    return _line([*content, crc] if isinstance(content, list) else {**content, "crc32": crc})


def _checked(line: bytes) -> Any:
    """The content of a line without its sum; a :class:`ValueError` if the sum is wrong."""
    content = json.loads(line)
    if isinstance(content, list) and content:
        *content, crc = content
    elif isinstance(content, dict):
        crc = content.pop("crc32", None)
    else:
        raise ValueError("neither a header nor a point")
    if type(crc) is not int or crc != zlib.crc32(_line(content)):
        raise ValueError("its sum is wrong")
    return content


def _parse(path: Path, content: bytes) -> tuple[dict[str, Any], dict[int, Value], int]:
    """Header, points and the length in bytes of the complete lines of a journal."""
    intact = content.rfind(b"\n") + 1
    lines = content[:intact].split(b"\n")[:-1]
    if not (lines and SCHEMA.encode() in lines[0]):
        raise InputError(f"{path} is not the journal of a surface; it is left as it is, choose another name")
    number, values = 1, dict[int, Value]()  # the number of the line that is read
    try:
        header = _checked(lines[0])
        if header["schema"] != SCHEMA:
            raise ValueError("another schema")
        total, count = len(header["x"]) * len(header["y"]), len(header["values"])
        check_points(path, "loss", total)
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007  the message below names it
            index, *numbers = _checked(line)
            if not (isinstance(index, int) and 0 <= index < total and len(numbers) == count):
                raise ValueError("not a point of this surface")
            values[index] = tuple(None if each is None else float(each) for each in numbers)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise InputError(f"{path} is damaged in line {number}; delete it to start over") from None
    return header, values, intact


def refuse_another_run(
    path: Path, stored: Mapping[str, Any], requested: Mapping[str, Any], *, what: str = "the journal"
) -> None:
    """Raises :class:`InputError` if two descriptions of runs differ, and names the first field in which they do."""
    old, new = dict(_flat(stored)), dict(_flat(requested))
    for key in (*new, *old):
        a, b = old.get(key), new.get(key)
        same = a == b
        if key == "meta.centre.loss" and isinstance(a, float) and isinstance(b, float):
            same = math.isclose(a, b, rel_tol=_SAME_LOSS) or (math.isnan(a) and math.isnan(b))
        if not same:
            raise InputError(
                f"{path} is {what} of another run: its {key.removeprefix('meta.')} is {str(a)[:40]}, "
                f"here it is {str(b)[:40]}; delete it to start over, or choose another output"
            )


def _flat(content: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, content


def assembled(header: Mapping[str, Any], values: Mapping[int, Value]) -> Surface:
    """The surface of a journal's header and of some of its points."""
    x, y = np.asarray(header["x"], np.float64), np.asarray(header["y"], np.float64)
    names, shape = header["values"], (y.size, x.size)
    computed = np.zeros(x.size * y.size, bool)
    fields = np.full((len(names), x.size * y.size), np.nan)
    for index, numbers in values.items():
        computed[index] = True
        fields[:, index] = [np.nan if number is None else number for number in numbers]
    # A value that is missing at every point, such as the accuracy of a regression, is no field of the surface.
    known = {names[0], *(names[k] for row in values.values() for k, v in enumerate(row) if v is not None)}
    surface: dict[str, Any] = {"accuracy": None}
    surface |= {name: f.reshape(shape) for name, f in zip(names, fields, strict=True) if name in known}
    for name in ("markers", "trajectory"):
        if header.get(name):
            surface[name] = Landmarks(**header[name])
    return Surface(x=x, y=y, computed=computed.reshape(shape), meta=header["meta"], **surface)
