"""The functions and classes that a checkpoint refers to, read from its pickles without running them.

``torch.serialization.get_unsafe_globals_in_checkpoint`` does not serve here: it reads zip archives only, fails at the
first instruction of a newer pickle protocol, which is where code hides, has no bound on the length of the program,
and takes ``bytearray`` for harmless, whose argument can be a size of 100 GB.
"""

import _compat_pickle
import io
import pickletools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from landscape.checkpoints.archive import data_start
from landscape.checkpoints.inert import INERT

MOST_INSTRUCTIONS = 1_000_000
"""More than any file of weights has; a longer program would only keep the reader busy."""

MOST_COPIED = 10_000_000
"""Elements that sets and dictionaries may copy from lists; a file can name one long list again and again."""

MARK = 0x1950A86A20F9469CFC6C
"""The pickled number with which torch's format of before version 1.6 begins."""

_TENSORS = re.compile(
    r"torch\.\w+Storage|torch\.storage\.(Untyped|Typed)Storage|torch\.\w+Tensor|torch\.Tensor|torch\.Size|torch\.device"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|torch\.(b?float|q?u?int|complex)\d\w*|torch\.(bool|per_\w+)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|complex)"
)
_INERT = frozenset(name for _, name in INERT)
_COPIES = ("builtins.set", "collections.OrderedDict", "collections.Counter")
_MARK = pickletools.markobject


@dataclass
class Pickles:
    """What the pickles of a file refer to: every name that would be imported, and might be called."""

    imports: set[str]
    complete: bool = True  # every pickle could be read to its end
    protocol: int = 0
    instructions: int = 0
    copied: int = 0  # at most so many elements

    @property
    def names(self) -> list[str]:
        """The imports without tensors and other inert things."""
        return sorted(name for name in self.imports if not _TENSORS.fullmatch(name) and name not in _INERT)

    @property
    def endless(self) -> bool:
        """Whether they have more than :data:`MOST_INSTRUCTIONS`, or copy more than :data:`MOST_COPIED`."""
        return self.instructions >= MOST_INSTRUCTIONS or self.copied > MOST_COPIED

    def read(self, stream: IO[bytes]) -> object:
        """Reads one pickle; returns the last long number in it, which is all that the mark consists of."""
        stack: list[object] = []  # a text, a mark, an empty tuple, or None for anything else
        memory: dict[object, object] = {}
        value: object = None
        for opcode, argument, _ in pickletools.genops(stream):
            self.instructions += 1
            if self.endless:
                raise ValueError
            name = opcode.name
            if name == "REDUCE" and stack[-2] in _COPIES and stack[-1] != ():
                self.copied += self.instructions  # no list is longer
            if name in ("GLOBAL", "INST"):
                self.imports.add(imported_name(cast(str, argument)))
            elif name == "STACK_GLOBAL":
                self.imports.add(".".join(cast(list[str], stack[-2:])))  # fails unless both are texts
            elif name.startswith("EXT"):
                self.imports.add(f"copyreg.extension_{argument}")
            elif name == "PROTO":
                self.protocol = max(self.protocol, cast(int, argument))
            elif name == "LONG1":
                value = argument
            if name == "MEMOIZE" or "PUT" in name:
                memory[len(memory) if name == "MEMOIZE" else argument] = stack[-1]
            elif "GET" in name:
                stack.append(memory[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            elif "UNICODE" in name or "STRING" in name:
                stack.append(argument)
            elif name in ("GLOBAL", "EMPTY_TUPLE"):
                stack.append(imported_name(cast(str, argument)) if argument else ())
            elif name != "STOP":
                _follow(opcode, stack)
        return value


def _follow(opcode: pickletools.OpcodeInfo, stack: list[object]) -> None:
    """Pops the operands of an instruction, and pushes a mark or ``None`` for its results."""
    before = opcode.stack_before
    count = len(before)
    if _MARK in before or (opcode.name == "POP" and stack[-1] is _MARK):
        while stack.pop() is not _MARK:
            pass
        count = before.index(_MARK) if _MARK in before else 0
    for _ in range(count):
        stack.pop()
    stack.extend(_MARK if kind is _MARK else None for kind in opcode.stack_after)


def imported_name(argument: str) -> str:
    """The module and the name of an instruction, with dots, as Python 3 calls them."""
    module, _, attribute = argument.partition(" ")
    renamed = (_compat_pickle.IMPORT_MAPPING.get(module, module), attribute)
    return ".".join(_compat_pickle.NAME_MAPPING.get((module, attribute), renamed))


def pickled_names(file: Path) -> Pickles:
    """The names in the pickles of a checkpoint, or in a bare pickle; of a damaged file, those before the damage."""
    pickles = Pickles(set())
    try:
        with file.open("rb") as stream:
            if stream.read(2) == b"PK":
                with zipfile.ZipFile(stream) as archive:
                    members = [m for m in archive.infolist() if m.filename.endswith(".pkl")]
                for member in members:
                    # Not read by ZipFile.open, which refuses a part that was written without its check sum.
                    stream.seek(data_start(stream, member))
                    pickles.read(io.BytesIO(stream.read(member.file_size)))
                return pickles
            stream.seek(0)
            # The older format is five pickles: a mark, a version, the machine, the content, the keys.
            if pickles.read(stream) == MARK:
                for _ in range(4):
                    pickles.read(stream)
    except Exception:  # bytes that are no pickle can fail in any way; the names before the damage count
        pickles.complete = False
    return pickles
