"""Which functions and classes a checkpoint refers to, read from its pickles without running them."""

import io
import pickletools
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from landscape.checkpoints.inert import INERT

MOST_INSTRUCTIONS = 1_000_000
"""More than any file has that holds weights; a longer program would only keep the reader busy."""

MARK = 0x1950A86A20F9469CFC6C
"""What torch's format of before version 1.6 begins with, as a pickled number."""

_TENSORS = re.compile(
    r"torch\.\w+Storage|torch\.storage\.(Untyped|Typed)Storage|torch\.\w+Tensor|torch\.Tensor|torch\.Size|torch\.device"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|torch\.(b?float|q?u?int|complex)\d\w*|torch\.(bool|per_\w+)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|complex)"
)
_INERT = frozenset(name for _, name in INERT)
_OLD = {"__builtin__": "builtins", "copy_reg": "copyreg", "__builtins__": "builtins"}


@dataclass(frozen=True)
class Pickles:
    """What the pickles of a file refer to.

    Attributes:
        names: What would be imported, and might be called; tensors and other inert things left out.
        whole: Whether every pickle could be read to its end.
        protocol: The newest pickle protocol; 2 is what ``torch.save`` writes.
        endless: Whether they have more than :data:`MOST_INSTRUCTIONS`.
    """

    names: tuple[str, ...]
    whole: bool
    protocol: int
    endless: bool


def pickled_names(file: Path) -> Pickles:
    """The names that would be imported by opening a file.

    Args:
        file: A checkpoint in torch's zip format, in its older one, or a bare pickle. A damaged one has the names
            before the damage.
    """
    scan = _Scan()
    with file.open("rb") as stream:
        archive = stream.read(2) == b"PK"
    try:
        if archive:
            with zipfile.ZipFile(file) as opened:
                for member in opened.infolist():
                    if member.filename.endswith(".pkl"):
                        scan.read(_stored(file, member))
        else:
            with file.open("rb") as stream:
                # The older format is five pickles: a mark, a version, the machine, the content, the keys.
                if scan.read(stream) == MARK:
                    for _ in range(4):
                        scan.read(stream)
    except Exception:  # bytes that are no pickle can fail in any way; what was found until then counts
        scan.whole = False
    names = sorted(name for name in scan.names if not _TENSORS.fullmatch(name) and name not in _INERT)
    return Pickles(tuple(names), scan.whole, scan.protocol, scan.instructions >= MOST_INSTRUCTIONS)


def _stored(file: Path, member: zipfile.ZipInfo) -> IO[bytes]:
    """A part of an archive that is not compressed, whether or not it has a check sum."""
    with file.open("rb") as stream:
        stream.seek(member.header_offset + 26)
        stream.seek(
            sum(struct.unpack("<HH", stream.read(4))), io.SEEK_CUR
        )  # its name and what else is said of it
        return io.BytesIO(stream.read(member.file_size))


class _Scan:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.whole = True
        self.protocol = 0
        self.instructions = 0

    def read(self, stream: IO[bytes]) -> object:
        """Reads one pickle; returns the last long number in it, which is all that the mark consists of."""
        texts: list[str] = []
        memory: dict[object, str] = {}
        value: object = None
        for opcode, argument, _ in pickletools.genops(stream):
            self.instructions += 1
            if self.instructions >= MOST_INSTRUCTIONS:
                raise ValueError
            name = opcode.name
            if name in ("GLOBAL", "INST"):
                module, _, attribute = cast(str, argument).partition(" ")
                self.names.add(f"{_OLD.get(module, module)}.{attribute}")
            elif name == "STACK_GLOBAL" and len(texts) > 1:
                self.names.add(".".join(texts[-2:]))
            elif "UNICODE" in name:
                texts.append(str(argument))
            elif name == "MEMOIZE":
                memory[len(memory)] = texts[-1] if texts else ""
            elif "PUT" in name:
                memory[argument] = texts[-1] if texts else ""
            elif "GET" in name and argument in memory:
                texts.append(memory[argument])
            elif name == "PROTO":
                self.protocol = max(self.protocol, cast(int, argument))
            elif name == "LONG1":
                value = argument
            if len(texts) > 1000:
                del texts[:-2]
        return value
