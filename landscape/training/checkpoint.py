"""The checkpoint of a run: one file that opens without running code, and has the same bytes for the same content."""

import io
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoints.opening import open_file
from landscape.checkpoints.pinned import pinned
from landscape.errors import InputError
from landscape.records.reading import check_regular
from landscape.records.storage import write_whole

FORMAT = "landscape.checkpoint/1"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "state_dict": Mapping,
    "recipe": Mapping,
    "epoch": int,
    "step": int,
    "metrics": Mapping,
    "training": Mapping,
}
# The format stands within the first bytes: the pickle comes first in the file, its names in alphabetical order.
_HEAD = 2**20
_WAY_OUT = (
    "remove it to go on from the last one in checkpoints/, if there is any, or start again with overwrite=True "
    "(--overwrite)"
)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replaces ``path`` by a checkpoint of ``content``, completely or not at all.

    Args:
        path: The file.
        content: Tensors, numbers, strings and containers of them: ``state_dict``, ``recipe``, ``epoch``
            (complete ones), ``step``, ``metrics``, and ``training``, which is needed to continue.
    """
    buffer = io.BytesIO()
    torch.save(_plain({"format": FORMAT, **content}), buffer)
    write_whole(path, buffer.getvalue())


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint that :func:`write` wrote, with its check sums verified.

    Raises:
        InputError: The file is damaged, or is not a checkpoint of a run.
    """
    check_regular(path)
    foreign = InputError(f"{path} is not a checkpoint that training wrote ({FORMAT}); {_WAY_OUT}")
    try:
        with pinned(path) as file:
            content: dict[str, Any] = _plain(open_file(file, trust=False).content)
    except InputError as failure:
        reason = str(failure).removeprefix(str(path)).partition(": ")[2].partition("; ")[0]
        raise InputError(f"{path} is damaged and cannot be resumed ({reason}); {_WAY_OUT}") from failure
    except (TypeError, RecursionError) as failure:
        raise foreign from failure
    if not _is_run(content):
        raise foreign
    return content


def is_ours(path: Path) -> bool:
    """Whether a file, damaged or not, says that it is a checkpoint of a run; nothing in it is unpickled."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head.startswith(b"PK") and FORMAT.encode() in head


def _is_run(content: Any) -> bool:
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        return False
    if not all(isinstance(content.get(name), kind) for name, kind in _KINDS.items()):
        return False
    entries = content["training"].get("history", [])
    return isinstance(entries, list) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("epoch"), int)
        and all(isinstance(value, (int, float)) for value in entry.values())
        for entry in entries
    )


def _plain(value: Any) -> Any:
    """The same content made of new objects, so that equal content gives equal bytes."""
    # Pickle writes an object that it has seen before as a reference: which strings and tensors are one object must
    # not depend on how the content came about.
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, OrderedDict):
        ordered = OrderedDict((_plain(key), _plain(member)) for key, member in value.items())
        if hasattr(value, "_metadata"):  # versions of modules, which load_state_dict reads
            ordered._metadata = _plain(value._metadata)  # type: ignore[attr-defined]
        return ordered
    if isinstance(value, Mapping):
        # Sorted by type first, because keys of different types cannot be compared.
        return {_plain(key): _plain(value[key]) for key in sorted(value, key=lambda k: (type(k).__name__, k))}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(member) for member in value)
    return value
