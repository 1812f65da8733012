"""One file to what it holds, memory-mapped where its format allows, without running code unless it is trusted."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch

from landscape.checkpoints.archive import check_archive, damaged, refuse_other_kinds
from landscape.checkpoints.inert import INERT
from landscape.checkpoints.pickled_names import MARK, Pickles, pickled_names
from landscape.checkpoints.sums import SUM, content_sum
from landscape.errors import InputError
from landscape.isolation import Shared, no_warnings
from landscape.records.reading import LONGEST_HEADER

_TRUSTED = (
    "add --trust-checkpoint (trust=True), or convert it once, where that can do no harm: landscape convert {file} "
    "weights.safetensors --trust-checkpoint"
)


@dataclass(frozen=True)
class Opened:
    """What one file holds.

    Attributes:
        content: A state dict, a dictionary with one in it, or anything else.
        form: The format, in words.
        metadata: Texts in the header of safetensors.
        notes: Remarks for the reader.
    """

    content: object
    form: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_file(file: Path, *, trust: bool) -> Opened:
    """Opens a checkpoint of any format, told by its content.

    Args:
        file: A regular file.
        trust: Whether code stored in it may run.

    Raises:
        InputError: It is empty, damaged, of another kind, or would run code.
    """
    size = file.stat().st_size
    if size == 0:
        raise InputError(f"{file} is empty (0 bytes): it was not written to the end; take another checkpoint")
    with file.open("rb") as stream:
        head = stream.read(512)
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and (header <= size - 8 or file.suffix == ".safetensors"):
        return _safetensors(file, header, size)
    refuse_other_kinds(file, head)
    if head.startswith(b"PK"):
        notes = check_archive(file)
        return Opened(_torch(file, trust=trust, mapped=True), "torch.save", notes=tuple(notes))
    if head[257:262] == b"ustar":
        if not trust:
            raise _refused(file, ["torch's tar format of 2016"])
        return Opened(_torch(file, trust=True, mapped=False), "torch.save of 2016")
    if head[:1] not in (b"\x80", b"(", b"]", b"}", b"c"):
        raise damaged(file, f"it begins with {head[:9]!r}")
    if trust and not _marked(file):
        return Opened(_unpickled(file), "a pickle")
    return Opened(_torch(file, trust=trust, mapped=False), "torch.save before 1.6")


def _safetensors(file: Path, header: int, size: int) -> Opened:
    if header > min(size - 8, LONGEST_HEADER):
        reason = f"its safetensors header should have {header:,} bytes, but the file has {size:,}"
        if header <= size - 8:
            reason = f"its safetensors header has {header:,} bytes, more than {LONGEST_HEADER:,}"
        raise damaged(file, reason)
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            content = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = dict(opened.metadata() or {})
    except Exception as failure:  # safetensors has errors of many kinds for damaged files
        reason = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise damaged(file, f"its safetensors header or data is broken ({reason})") from failure
    if SUM in metadata and metadata[SUM] != content_sum(content, metadata):
        raise damaged(file, "its check sum is wrong, so its bytes are not those that were written")
    return Opened(content, "safetensors", metadata)


def _torch(file: Path, *, trust: bool, mapped: bool) -> object:
    if not trust:
        _check_pickles(file, pickled_names(file))
    # torch hands the path to C++, which takes text only; a file with another name is read, not mapped.
    mapped = mapped and file.as_posix().isprintable()
    try:
        with no_warnings, _INERT:
            if mapped:
                return torch.load(file, map_location="cpu", weights_only=not trust, mmap=True)
            with file.open("rb") as stream:
                return torch.load(stream, map_location="cpu", weights_only=not trust)
    except Exception as failure:  # a damaged file can raise anything; whatever it is, the file is at fault
        raise damaged(file, _reason(failure, trust=trust)) from failure


# torch's list of what may be looked up belongs to the process.
_INERT = Shared(lambda: torch.serialization.safe_globals(INERT))  # type: ignore[arg-type]


def _reason(failure: Exception, *, trust: bool) -> str:
    if trust:
        first = (str(failure).splitlines() or [""])[0][:160]
        return f"{type(failure).__name__}: {first}"
    return "its pickle breaks off, or its parts do not fit together"


def _check_pickles(file: Path, found: Pickles) -> None:
    allowed = {_dotted(known) for known in torch.serialization.get_safe_globals()}
    names = [name for name in found.names if name not in allowed]
    if names:
        raise _refused(file, names)
    if found.endless:
        raise damaged(file, "its pickle is longer than any that holds weights")
    if not found.whole:
        raise damaged(file, "its pickle breaks off or is broken")
    if found.protocol > 2:
        raise InputError(
            f"{file} is in pickle protocol {found.protocol}, which torch opens only if it may run code; save it "
            f"without pickle_protocol, or, if you trust whoever made it, {_TRUSTED.format(file=file)}"
        )


def _dotted(known: object) -> str:
    if isinstance(known, tuple):
        return str(known[1])
    return f"{getattr(known, '__module__', '')}.{getattr(known, '__qualname__', '')}"


def _refused(file: Path, names: list[str]) -> InputError:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return InputError(
        f"{file} would run code when opened: it refers to {', '.join(names[:8])}{more}. If you trust whoever made "
        f"it, {_TRUSTED.format(file=file)}"
    )


def _marked(file: Path) -> bool:
    """Whether a pickle is torch's format of before 1.6: the first of its five is the mark."""
    mark = pickle.dumps(MARK, protocol=2)
    with file.open("rb") as stream:
        return stream.read(len(mark)) == mark


def _unpickled(file: Path) -> object:
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)
    except Exception as failure:
        raise damaged(file, _reason(failure, trust=True)) from failure
