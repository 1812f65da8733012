"""Writing a run to one file that opens without running code, and has the same bytes for the same content.

The bytes do not depend on the file's name, on the time, or on whether a string was made once or twice:
pickle remembers objects by identity, so every string is interned and every tensor copied before it is written.
"""

import io
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError
from landscape.reading import check_regular
from landscape.storage import write_whole

FORMAT = "landscape.checkpoint/1"
_KEYS = {"format", "state_dict", "recipe", "epoch", "step", "metrics", "training"}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace ``path`` by a checkpoint of ``content``, whole or not at all.

    Args:
        path: The file.
        content: Tensors, numbers, strings and containers of them: ``state_dict``, ``recipe``, ``epoch``
            (completed ones), ``step``, ``metrics`` and ``training``, what is needed to go on.
    """
    buffer = io.BytesIO()
    torch.save(_plain({"format": FORMAT, **content}), buffer)
    write_whole(path, buffer.getvalue())


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint that :func:`write` wrote.

    Raises:
        InputError: The file is damaged, or is not a checkpoint of a run.
    """
    way_out = "put a copy from checkpoints/ in its place, or start again with overwrite=True (--overwrite)"
    check_regular(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as failure:  # a damaged file can raise anything; whatever it is, the file is at fault
        reason = (str(failure).strip().splitlines() or [type(failure).__name__])[0][:120]
        raise InputError(f"{path} is damaged and cannot be resumed ({reason}); {way_out}") from failure
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.keys() >= _KEYS:
        raise InputError(f"{path} is not a checkpoint that training wrote ({FORMAT}); {way_out}")
    return content


def _plain(value: Any) -> Any:
    """The same content made of fresh objects: equal content gives equal bytes."""
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
        return {_plain(key): _plain(value[key]) for key in sorted(value, key=lambda k: (type(k).__name__, k))}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(member) for member in value)
    return value
