"""The kind of a file by its first bytes, and checks of a zip archive before torch opens it."""

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

from landscape.errors import InputError
from landscape.records.reading import Cautious

GENEROUS = 16 * 2**20
"""Bytes by which the tensors of a small file may be larger than four times the file."""

_PIECE = 2**18  # bytes that stay in the cache of a processor between the two sums
_ONNX = (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42")  # tags of the fields that can follow the version
_TWICE = "which cannot be differentiated twice; save model.state_dict() of the Python model instead"
_KINDS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras, h5py)",
    b"GGUF": "a GGUF file of quantised weights",
    b"\x1f\x8b": "compressed with gzip: gunzip it first",
    b"BZh": "compressed with bzip2: bunzip2 it first",
    b"\xfd7zXZ\x00": "compressed with xz: unxz it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unzstd it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"\x93NUMPY": "a NumPy array",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with git lfs pull",
    b"<!DOCTYPE": "a web page: the download did not give the file",
    b"<html": "a web page: the download did not give the file",
}


def printable(text: str) -> str:
    """The text with everything that a terminal would act on, or could not show, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_line(failure: Exception) -> str:
    """The message of an error of a library, which may have many lines or none."""
    return (str(failure).splitlines() or [type(failure).__name__])[0][:160]


_OTHER_KINDS = {
    ".jsonl": "; records are read by `landscape compare` and `landscape plot`",
    ".npz": "; `landscape plot` draws surfaces, and -d npz:FILE names data",
    ".py": "; -m ./file.py:NAME names a network",
}
"""The reader of files that are often passed in place of a checkpoint, by suffix."""


def damaged(file: Path, reason: str) -> InputError:
    """The error for a file that cannot be read, whatever the reason."""
    return InputError(
        f"{file} ({file.stat().st_size} bytes) cannot be read as a checkpoint: {reason}; it is truncated, damaged "
        "or of another kind: take another copy (.pt, .pth, .ckpt or .safetensors)"
        f"{_OTHER_KINDS.get(file.suffix, '')}"
    )


def refuse_other_kinds(file: Path, head: bytes) -> None:
    """Raises :class:`InputError` for files of a well-known kind without usable weights, by their first bytes."""
    for mark, kind in _KINDS.items():
        if head.startswith(mark):
            raise damaged(file, f"it is {kind}")
    if head[:1] == b"\x08" and head[2:3] in _ONNX and 0 < head[1] < 32:
        raise InputError(f"{file} is an ONNX model, {_TWICE}")


def check_archive(file: Path) -> tuple[str, list[str]]:
    """The SHA-256 of a zip archive and remarks for the reader, after checks that it can be opened as a checkpoint."""
    try:
        with Cautious(file) as stream, zipfile.ZipFile(cast(IO[bytes], stream)) as archive:
            members = archive.infolist()
        _check_kind(file, [member.filename for member in members])
        _check_size(file, members)
        parts = [member for member in members if member.file_size]
        digest, wrong = _sums(file, parts)
    except InputError:
        raise
    except Exception as failure:  # a damaged archive can fail in any way
        raise damaged(file, "its zip archive breaks off or is broken") from failure
    if wrong and len(wrong) < len(parts):
        raise damaged(
            file,
            f"the check sum of {printable(wrong[0])} is wrong, so its bytes are not those that were written",
        )
    # All of them are wrong after torch.serialization.set_crc32_options(False), which writes zeros.
    return digest, ["it was saved without check sums, so that damage would not be noticed"] if wrong else []


def data_start(stream: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where the data of a part begin, behind a local header whose length is not that of the central list."""
    stream.seek(member.header_offset)
    header = stream.read(30)
    if not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile("a part has no header")
    name, extra = struct.unpack("<HH", header[26:])
    return member.header_offset + len(header) + int(name) + int(extra)


def _check_kind(file: Path, names: list[str]) -> None:
    leaves = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in leaves:
        raise InputError(f"{file} is a TorchScript archive, {_TWICE}")
    if "archive_format" in leaves or "serialized_exported_program.json" in leaves:
        raise InputError(f"{file} is an exported program, {_TWICE}")
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1 or pickles[0].count("/") > 1 or len(set(names)) != len(names):
        content = ", ".join(map(printable, sorted(names)[:4])) or "nothing"
        raise damaged(file, f"its zip archive is not one that torch.save writes (it holds {content})")


def _check_size(file: Path, members: list[zipfile.ZipInfo]) -> None:
    opened = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise damaged(
            file, f"its zip archive is compressed ({opened:,} bytes when opened), which torch.save never does"
        )
    if opened > file.stat().st_size:
        raise damaged(file, f"the parts of its zip archive ({opened:,} bytes) are more than the file")


def _sums(file: Path, parts: list[zipfile.ZipInfo]) -> tuple[str, list[str]]:
    """The SHA-256 of a file and the parts whose CRC-32 is wrong, from one pass over its bytes."""
    sha256, wrong = hashlib.sha256(), []

    def read_until(end: int) -> int:
        crc = 0
        while (left := end - stream.tell()) > 0:
            piece = stream.read(min(_PIECE, left))
            if not piece:
                raise EOFError
            sha256.update(piece)
            crc = zlib.crc32(piece, crc)
        return crc

    with file.open("rb") as stream:
        starts = [data_start(stream, part) for part in parts]
        stream.seek(0)
        for start, part in sorted(zip(starts, parts, strict=True), key=lambda pair: pair[0]):
            read_until(start)
            if stream.tell() != start:
                raise zipfile.BadZipFile("its parts overlap")
            if read_until(start + part.file_size) != part.CRC:
                wrong.append(part.filename)
        read_until(file.stat().st_size)
    return sha256.hexdigest(), wrong
