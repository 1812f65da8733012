"""Opens one checkpoint file, memory-mapped where its format allows, without running code unless it is trusted."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from landscape.checkpoints.archive import check_archive, damaged, first_line, refuse_other_kinds
from landscape.checkpoints.inert import INERT
from landscape.checkpoints.pickled_names import MARK, Pickles, pickled_names
from landscape.errors import InputError
from landscape.isolation import Shared, no_warnings
from landscape.records.reading import LONGEST_HEADER
from landscape.records.storage import sha256

SUM = "landscape.sha256"
"""Where ``landscape convert`` writes a check sum in the header of safetensors, a format without any."""

_TRUSTED = (
    "add --trust-checkpoint (trust=True), or convert it once, where that can do no harm: landscape convert {file} "
    "weights.safetensors --trust-checkpoint"
)


@dataclass(frozen=True)
class Opened:
    """The contents of one file, its format in words, its hash, and the texts in the header of safetensors."""

    content: object
    form: str
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_file(file: Path, *, trust: bool) -> Opened:
    """Opens a regular file of any format, recognised by its content; code in it runs only with ``trust``."""
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
        digest, notes = check_archive(file)
        return Opened(_torch(file, trust=trust, mapped=True), "torch.save", digest, notes=tuple(notes))
    if head[257:262] == b"ustar":
        if not trust:
            raise _refused(file, ["torch's tar format of 2016"])
        return Opened(_torch(file, trust=True, mapped=False), "torch.save of 2016", sha256(file))
    if head[:1] not in (b"\x80", b"(", b"]", b"}", b"c"):  # with what a pickle can begin
        raise damaged(file, f"it begins with {head[:9]!r}")
    if trust and not head.startswith(pickle.dumps(MARK, protocol=2)):
        return Opened(_unpickled(file), "a pickle", sha256(file))
    return Opened(_torch(file, trust=trust, mapped=False), "torch.save before 1.6", sha256(file))


def content_sum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of names, types, shapes and values, and of the texts in the header except the sum itself."""
    digest = hashlib.sha256()
    for key in sorted(metadata):
        if key != SUM:
            digest.update(repr((key, metadata[key])).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _safetensors(file: Path, header: int, size: int) -> Opened:
    if header > size - 8:
        raise damaged(file, f"its safetensors header should have {header:,} bytes, but the file has {size:,}")
    if header > LONGEST_HEADER:
        raise damaged(file, f"its safetensors header has {header:,} bytes, more than {LONGEST_HEADER:,}")
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            content = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = dict(opened.metadata() or {})
    except Exception as failure:  # safetensors has errors of many kinds for damaged files
        raise damaged(file, f"its safetensors header or data is broken ({first_line(failure)})") from failure
    if SUM in metadata and metadata[SUM] != content_sum(content, metadata):
        raise damaged(file, "its check sum is wrong, so its bytes are not those that were written")
    return Opened(content, "safetensors", sha256(file), metadata)


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
        own = f"{type(failure).__name__}: {first_line(failure)}"
        raise damaged(
            file, own if trust else "its pickle breaks off, or its parts do not fit together"
        ) from failure


# torch's list of the names that may be imported belongs to the process, so threads that open files share the change.
_INERT = Shared(lambda: torch.serialization.safe_globals(INERT))  # type: ignore[arg-type]


def _unpickled(file: Path) -> object:
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)
    except Exception as failure:
        raise damaged(file, f"{type(failure).__name__}: {first_line(failure)}") from failure


def _check_pickles(file: Path, pickles: Pickles) -> None:
    """Refuses pickles that name anything but tensors, inert things, and what the user has allowed in torch."""
    allowed = {_dotted(item) for item in torch.serialization.get_safe_globals()}
    names = [name for name in pickles.names if name not in allowed]
    if names:
        raise _refused(file, names)
    if pickles.endless:
        raise damaged(file, "its pickle is longer than any that holds weights")
    if not pickles.complete:
        raise damaged(file, "its pickle breaks off or is broken")
    if pickles.protocol > 2:
        raise InputError(
            f"{file} is in pickle protocol {pickles.protocol}, which torch opens only if it may run code; save it "
            f"without pickle_protocol, or, if you trust whoever made it, {_TRUSTED.format(file=file)}"
        )


def _dotted(item: object) -> str:
    if isinstance(item, tuple):  # an object with the name under which files refer to it
        return str(item[1])
    return f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', '')}"


def _refused(file: Path, names: list[str]) -> InputError:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return InputError(
        f"{file} would run code when opened: it refers to {', '.join(names[:8])}{more}. If you trust whoever made "
        f"it, {_TRUSTED.format(file=file)}"
    )
