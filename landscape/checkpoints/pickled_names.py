"""Which functions and classes a checkpoint refers to, read from its pickles without running them."""

import pickletools
import re
from pathlib import Path

import torch

_INERT = re.compile(r"torch\.\w+Storage|torch\._utils\._rebuild_\w+|torch\.Size|collections\.OrderedDict")


def pickled_names(file: Path) -> list[str]:
    """The names that would be imported, and might be called, by opening a file; those of tensors left out.

    Args:
        file: A checkpoint in torch's zip format, in its older one, or a bare pickle. A file that is none of
            them has no names, and a damaged one those before the damage.
    """
    with file.open("rb") as stream:
        archive = stream.read(2) == b"PK"
    if not archive:  # one pickle, or several one after the other
        return sorted(name for name in _scanned(file) if not _INERT.fullmatch(name))
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # a damaged archive: whatever it was to hold, it cannot be opened
        return []


def _scanned(file: Path) -> set[str]:
    found: set[str] = set()
    with file.open("rb") as stream:
        try:
            while stream.peek(1):
                strings: list[str] = []
                memory: dict[object, str] = {}
                for opcode, argument, _ in pickletools.genops(stream):
                    if opcode.name in ("GLOBAL", "INST"):
                        found.add(str(argument).replace(" ", "."))
                    elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                        found.add(".".join(strings[-2:]))
                    elif "UNICODE" in opcode.name:
                        strings.append(str(argument))
                    elif opcode.name == "MEMOIZE":
                        memory[len(memory)] = strings[-1] if strings else ""
                    elif "PUT" in opcode.name:
                        memory[argument] = strings[-1] if strings else ""
                    elif "GET" in opcode.name and argument in memory:
                        strings.append(memory[argument])
        except Exception:  # what follows is not a pickle
            pass
    return found
