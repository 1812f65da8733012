"""Opens one checkpoint file, memory-mapped where its format allows, without running code unless it is trusted."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import safetensors
import torch
from torch import Tensor

from landscape.checkpoints.archive import check_archive, damaged, first_line, refuse_other_kinds
from landscape.checkpoints.inert import INERT
from landscape.checkpoints.pickled_names import MARK, Pickles, pickled_names
from landscape.checkpoints.pickled_tensors import NotPlain
from landscape.checkpoints.stand_ins import NoNetwork, read_network
from landscape.checkpoints.trusted import trusted, unpickled
from landscape.errors import InputError
from landscape.isolation.switches import Shared, no_warnings
from landscape.records.reading import LONGEST_HEADER
from landscape.records.storage import sha256

SUM = "landscape.sha256"
"""Where ``landscape convert`` writes a check sum in the header of safetensors, a format without any."""

_BROKEN = "its pickle breaks off, or its parts do not fit together"
_TRUSTED = (
    "add --trust-checkpoint (trust=True), or convert it once, where that can do no harm: landscape convert {file} "
    "weights.safetensors --trust-checkpoint"
)


@dataclass(frozen=True)
class Opened:
    """The contents of one file, its format in words, its hash, and the texts in the header of safetensors.

    ``classes`` has the classes of networks that were pickled, by the keys of their weights in ``content``.
    """

    content: object
    form: str
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)


def open_file(file: Path, *, trust: bool, script: ModuleType | None = None) -> Opened:
    """Opens a regular file of any format, recognised by its content.

    Code in it runs only with ``trust``; then ``script`` has the classes that the file looks for in ``__main__``.
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
        digest, notes = check_archive(file)
        opened = _torch(file, "torch.save", trust=trust, mapped=True, script=script)
        return replace(opened, sha256=digest, notes=(*notes, *opened.notes))
    if head[257:262] == b"ustar":
        if not trust:
            raise _refused(file, ["torch's tar format of 2016"])
        opened = _torch(file, "torch.save of 2016", trust=True, mapped=False, script=script)
        return replace(opened, sha256=sha256(file))
    if head[:1] not in (b"\x80", b"(", b"]", b"}", b"c"):  # with what a pickle can begin
        raise damaged(file, f"it begins with {head[:9]!r}")
    if trust and not head.startswith(pickle.dumps(MARK, protocol=2)):
        return Opened(_blamed(file, lambda: unpickled(file, script)), "a pickle", sha256(file))
    opened = _torch(file, "torch.save before 1.6", trust=trust, mapped=False, script=script)
    return replace(opened, sha256=sha256(file))


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


def _torch(file: Path, form: str, *, trust: bool, mapped: bool, script: ModuleType | None) -> Opened:
    """A file of torch.save, whose hash is left empty; a network in it is read without its code."""
    # torch hands the path to C++, which takes text only; a file with another name is read, not mapped.
    mapped = mapped and file.as_posix().isprintable()
    if trust:
        return Opened(_blamed(file, lambda: trusted(file, mapped=mapped, script=script)), form, "")
    pickles = pickled_names(file)
    if (names := _unknown(pickles)) and pickles.complete and pickles.protocol == 2:
        return _network(file, form, names)
    _check_pickles(file, pickles)
    try:
        with no_warnings, _INERT:
            if mapped:
                return Opened(torch.load(file, map_location="cpu", weights_only=True, mmap=True), form, "")
            with file.open("rb") as stream:
                return Opened(torch.load(stream, map_location="cpu", weights_only=True), form, "")
    except Exception as failure:  # a damaged file can raise anything; whatever it is, the file is at fault
        raise damaged(file, _BROKEN) from failure


def _network(file: Path, form: str, names: list[str]) -> Opened:
    """A file with a pickled network; raises :class:`InputError` for one whose ``names`` do more than that."""
    try:
        network = read_network(file)
    except NoNetwork as failure:
        raise _refused(file, [*filter(None, dict.fromkeys([str(failure), *names]))]) from None
    except NotPlain as failure:
        raise InputError(
            f"{file} holds tensors that are not plain numbers ({failure}), such as quantised, sparse or uninitialised "
            "ones; save the weights in floating point"
        ) from None
    except InputError:
        raise
    except Exception as failure:  # a damaged file can raise anything
        raise damaged(file, _BROKEN) from failure
    kinds = [*dict.fromkeys((*network.classes.values(), *network.kinds))]
    first = ([kind for kind in kinds if not kind.startswith("torch.")] or kinds)[:4]
    more = f" and {len(kinds) - len(first)} more" if len(kinds) > len(first) else ""
    note = f"whole module, read without running its code: classes {', '.join(first)}{more}"
    return Opened(network.content, f"{form} of a whole module", "", notes=(note,), classes=network.classes)


# torch's list of the names that may be imported belongs to the process, so threads that open files share the change.
_INERT = Shared(lambda: torch.serialization.safe_globals(INERT))  # type: ignore[arg-type]


def _blamed(file: Path, read: Callable[[], object]) -> object:
    """The result of reading a trusted file; unexpected failures are reported as damage to the file."""
    try:
        with no_warnings:
            return read()
    except InputError:
        raise
    except Exception as failure:
        raise damaged(file, f"{type(failure).__name__}: {first_line(failure)}") from failure


def _check_pickles(file: Path, pickles: Pickles) -> None:
    """Refuses pickles that name anything but tensors, inert things, and what the user has allowed in torch."""
    if pickles.endless:
        raise damaged(file, "its pickle is longer than any that holds weights")
    if names := _unknown(pickles):
        raise _refused(file, names)
    if not pickles.complete:
        raise damaged(file, "its pickle breaks off or is broken")
    if pickles.protocol > 2:
        raise InputError(
            f"{file} is in pickle protocol {pickles.protocol}, which torch opens only if it may run code; save it "
            f"without pickle_protocol, or, if you trust whoever made it, {_TRUSTED.format(file=file)}"
        )


def _unknown(pickles: Pickles) -> list[str]:
    """The names other than tensors, inert objects, and those that the user has allowed in torch."""
    allowed = {_dotted(item) for item in torch.serialization.get_safe_globals()}
    return [name for name in pickles.names if name not in allowed]


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
