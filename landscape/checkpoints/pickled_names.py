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
from landscape.records.reading import LONGEST_NAME

MOST_INSTRUCTIONS = 1_000_000
"""More than any file of weights has; a longer program would only keep the reader busy.

An instruction that puts a known object on the stack counts as often as that object has parts, as these may be copied,
or hashed for a dictionary.
"""

DEEPEST = 100
"""Tuples in tuples: Python hashes them without a bound on the depth, and crashes where its stack ends."""

MOST_ODD_KEYS = 1000
"""Numbers beyond 60 bits, and tuples as keys: with equal hashes, they take time as the square of their number."""

MARK = 0x1950A86A20F9469CFC6C
"""The pickled number with which torch's format of before version 1.6 begins."""

_TENSORS = re.compile(
    r"torch\.\w+Storage|torch\.storage\.(Untyped|Typed)Storage|torch\.\w+Tensor|torch\.Tensor|torch\.Size|torch\.device"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|torch\.(b?float|q?u?int|complex)\d\w*|torch\.(bool|per_\w+)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|complex)"
)
_INERT = frozenset(name for _, name in INERT)
_MARK = pickletools.markobject
_PIECE = 64  # characters that take about as long to copy as another instruction
_MAKES = frozenset("REDUCE NEWOBJ NEWOBJ_EX OBJ INST".split())
_CHANGES = frozenset("APPEND APPENDS SETITEM SETITEMS ADDITEMS BUILD".split())


@dataclass(eq=False)
class _Parts:
    """An object with parts: how many there are, and for tuples how deep they lie in each other.

    ``deep`` is true of tuples, which are hashed with their parts, and of what functions make, such as bytes from text.
    """

    depth: int = 0
    deep: bool = False
    count: int = 1
    listed: int = 0  # tuples in its lists, of which a call may make keys

    def add(self, items: list[object]) -> None:
        """Counts items as parts, and lists and dictionaries as one each, which are copied and hashed no deeper."""
        for item in items:
            self.count += _weight(item) if isinstance(item, str) or getattr(item, "deep", False) else 1
            if isinstance(item, _Parts):
                self.listed += item.listed if self.depth else item.listed + item.depth
                if self.depth:
                    self.depth = max(self.depth, item.depth + 1)


def _weight(item: object) -> int:
    """As how many instructions it counts to put an object on the stack once more."""
    if isinstance(item, str):
        return 1 + len(item) // _PIECE
    return item.count if isinstance(item, _Parts) else 0


@dataclass
class Pickles:
    """What the pickles of a file refer to: every name that would be imported, and might be called."""

    imports: set[str]
    complete: bool = True  # every pickle could be read to its end
    protocol: int = 0
    instructions: int = 0
    odd_keys: int = 0

    @property
    def names(self) -> list[str]:
        """The imports without tensors and other inert things."""
        return sorted(name for name in self.imports if not _TENSORS.fullmatch(name) and name not in _INERT)

    @property
    def endless(self) -> bool:
        """Whether they have more than :data:`MOST_INSTRUCTIONS`."""
        return self.instructions >= MOST_INSTRUCTIONS

    def read(self, stream: IO[bytes]) -> object:
        """Reads one pickle; returns the last long number in it, which is all that the mark consists of."""
        stack: list[object] = []  # a text, a mark, parts, or None for anything else
        memory: dict[object, object] = {}
        value: object = None
        for opcode, argument, _ in pickletools.genops(stream):
            self.instructions += 1
            if self.endless:
                raise ValueError
            name = opcode.name
            if name in ("GLOBAL", "INST"):
                self._import(imported_name(cast(str, argument)))
            elif name == "STACK_GLOBAL":
                module, attribute = cast(list[str], stack[-2:])
                # One long text may stand in many names.
                self._import(".".join((module[: LONGEST_NAME + 1], attribute[: LONGEST_NAME + 1])))
            elif name.startswith("EXT"):
                self.imports.add(f"copyreg.extension_{argument}")
            elif name == "PROTO":
                self.protocol = max(self.protocol, cast(int, argument))
            elif name == "LONG1":
                value = argument
            if isinstance(argument, int) and abs(argument) >= 2**60:
                self.odd_keys += 1
            if name == "MEMOIZE" or "PUT" in name:
                memory[len(memory) if name == "MEMOIZE" else argument] = stack[-1]
            elif "GET" in name:
                stack.append(memory[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            elif "UNICODE" in name or "STRING" in name:
                stack.append(argument)
            elif name != "STOP":
                self._follow(opcode, stack)
            if "GET" in name or name == "DUP":
                self.instructions += _weight(stack[-1])
        return value

    def _import(self, name: str) -> None:
        if len(name) > LONGEST_NAME:
            raise ValueError
        self.imports.add(name)

    def _follow(self, opcode: pickletools.OpcodeInfo, stack: list[object]) -> None:
        """Takes from the stack what an instruction takes, and puts there what stands for what it gives."""
        before, items = opcode.stack_before, []
        count = len(before)
        if _MARK in before or (opcode.name == "POP" and stack[-1] is _MARK):
            while (item := stack.pop()) is not _MARK:
                items.append(item)
            count = before.index(_MARK) if _MARK in before else 0
        items += [stack.pop() for _ in range(count)]
        items.reverse()
        result: object = None
        if opcode.name in _CHANGES:
            result = items.pop(0)
            if opcode.name.startswith("SETITEM"):
                self.odd_keys += sum(isinstance(key, _Parts) and bool(key.depth) for key in items[::2])
            if isinstance(result, _Parts) and opcode.name != "BUILD":
                result.add(items)
        elif opcode.stack_after and opcode.stack_after[0] is _MARK:
            result = _MARK
        elif (items and opcode.name != "BINPERSID") or opcode.name.startswith("EMPTY"):
            depth = int("TUPLE" in opcode.name)
            result = _Parts(depth, bool(depth) or opcode.name in _MAKES)
            result.add(items)
            if opcode.name in _MAKES:
                # The arguments are a tuple that becomes no key.
                result.listed -= sum(item.depth for item in items if isinstance(item, _Parts))
                self.odd_keys += result.listed
            if result.depth > DEEPEST:
                raise ValueError
        if self.odd_keys > MOST_ODD_KEYS:
            raise ValueError
        stack.extend(result for _ in opcode.stack_after)


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
