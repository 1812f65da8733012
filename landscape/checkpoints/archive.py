"""What kind of file it is, told from its first bytes and, for zip archives, from the list of what is in them."""

import zipfile
from pathlib import Path
from typing import IO, cast

from landscape.errors import InputError
from landscape.records.reading import Cautious

GENEROUS = 16 * 2**20
"""Bytes that a small file may grow by when it is opened, whatever its size."""

_ONNX = (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42")
_TWICE = "which cannot be differentiated twice; save model.state_dict() of the Python model instead"
_KINDS: list[tuple[bytes, str]] = [
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, h5py)"),
    (b"GGUF", "a GGUF file of quantised weights"),
    (b"\x1f\x8b", "compressed with gzip: gunzip it first"),
    (b"BZh", "compressed with bzip2: bunzip2 it first"),
    (b"\xfd7zXZ\x00", "compressed with xz: unxz it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unzstd it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (b"<!DOCTYPE", "a web page: the download did not give the file"),
    (b"<html", "a web page: the download did not give the file"),
]


def damaged(file: Path, reason: str) -> InputError:
    """The error for a file that cannot be read, whatever the reason."""
    return InputError(
        f"{file} ({file.stat().st_size} bytes) cannot be read as a checkpoint: {reason}; it is truncated, damaged "
        "or of another kind: take another copy (.pt, .pth, .ckpt or .safetensors)"
    )


def refuse_other_kinds(file: Path, head: bytes) -> None:
    """Raises for files of a well-known kind that hold no weights that could be used.

    Args:
        file: The file.
        head: Its first bytes, 16 or more.

    Raises:
        InputError: It is one.
    """
    for mark, kind in _KINDS:
        if head.startswith(mark):
            raise damaged(file, f"it is {kind}")
    if head[:1] == b"\x08" and head[2:3] in _ONNX and 0 < head[1] < 32:
        raise InputError(f"{file} is an ONNX model, {_TWICE}")


def check_archive(file: Path) -> list[str]:
    """Checks a zip archive before it is opened as a checkpoint.

    Returns:
        Remarks for the reader.

    Raises:
        InputError: It is damaged, of another kind, or would grow when it is opened.
    """
    try:
        with Cautious(file) as stream, zipfile.ZipFile(cast(IO[bytes], stream)) as archive:
            members = archive.infolist()
            _check_kind(file, [member.filename for member in members])
            _check_size(file, members)
            return _check_sums(file, archive, members)
    except InputError:
        raise
    except Exception as failure:  # a damaged archive can fail in any way
        raise damaged(file, "its zip archive breaks off or is broken") from failure


def _check_kind(file: Path, names: list[str]) -> None:
    leaves = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in leaves:
        raise InputError(f"{file} is a TorchScript archive, {_TWICE}")
    if "archive_format" in leaves or "serialized_exported_program.json" in leaves:
        raise InputError(f"{file} is an exported program, {_TWICE}")
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1 or pickles[0].count("/") > 1 or len(set(names)) != len(names):
        held = ", ".join(map(_shown, sorted(names)[:4])) or "nothing"
        raise damaged(file, f"its zip archive is not one that torch.save writes (it holds {held})")


def _check_size(file: Path, members: list[zipfile.ZipInfo]) -> None:
    size = file.stat().st_size
    opened = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise damaged(
            file,
            f"its zip archive is compressed ({opened:,} bytes when opened), which torch.save never does",
        )
    if opened > size:
        raise damaged(file, f"the parts of its zip archive ({opened:,} bytes) are more than the file")


def _check_sums(file: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> list[str]:
    filled = [member for member in members if member.file_size]
    wrong = [member.filename for member in filled if not _sound(archive, member)]
    if wrong and len(wrong) < len(filled):
        raise damaged(
            file,
            f"the check sum of {_shown(wrong[0])} is wrong, so its bytes are not those that were written",
        )
    return ["it was saved without check sums, so that damage would not be noticed"] if wrong else []


def _sound(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as stream:
            while stream.read(2**20):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _shown(name: str) -> str:
    """A name in an archive as text of one line."""
    return name if name.isprintable() else repr(name)
