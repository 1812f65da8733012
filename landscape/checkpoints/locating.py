"""From the path that a user gives to the files that hold the weights: one file, a folder, or shards with an index."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from landscape.errors import InputError
from landscape.records.reading import check_regular, read_text

WHOLE = ("checkpoint.pt", "model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
"""Files that stand for the folder they are in, the first that is there."""

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")


@dataclass(frozen=True)
class Located:
    """Where the weights are.

    Attributes:
        path: The file, or the index of several.
        files: The files that hold tensors.
        names: In which of them each tensor is, where an index says so.
        config: What a Hugging Face folder says of its network.
        notes: Remarks for the reader.
    """

    path: Path
    files: tuple[Path, ...]
    names: Mapping[str, Path] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def locate(path: Path) -> Located:
    """The files that hold the weights.

    Args:
        path: A file, a folder with one in it, or an index of shards.

    Raises:
        InputError: There is no such file, it is not a regular one, or the index is not sound.
    """
    config = None
    if path.is_dir():
        path, config = _in_folder(path)
    _check_regular(path)
    if path.name.endswith(".index.json"):
        names = _index(path)
        return Located(path, tuple(dict.fromkeys(names.values())), names, config)
    notes = []
    if re.search(r"-\d{5}-of-\d{5}\.", path.name):
        notes.append("this is one of several shards; name their folder, or their index, to read all of them")
    return Located(path, (path,), config=config, notes=tuple(notes))


def _in_folder(folder: Path) -> tuple[Path, Mapping[str, Any] | None]:
    config = None
    if (folder / "config.json").is_file():
        config = _json(folder / "config.json")
    indexes = sorted(folder.glob("*.index.json"))
    for name in WHOLE:
        if (folder / name).is_file():
            return folder / name, config
        if (index := folder / f"{name}.index.json") in indexes:
            return index, config
    if len(indexes) == 1:
        return indexes[0], config
    if (folder / ".metadata").is_file():
        raise InputError(
            f"{folder} is a checkpoint of torch.distributed; join it first: python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {folder} checkpoint.pt"
        )
    held = ", ".join(sorted(child.name for child in folder.iterdir())[:5]) or "nothing"
    raise InputError(
        f"{folder} is a folder without a checkpoint.pt, model.safetensors or pytorch_model.bin (it holds {held}); "
        "name the file"
    )


def _check_regular(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(
                f"{path} is a symbolic link to {path.readlink()}, which does not exist"
            ) from None
        raise InputError(f"{path} does not exist{_beside(path)}") from None
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise InputError(f"{path} cannot be opened: {reason}; name another file") from failure
    check_regular(path)


def _beside(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f", nor does its folder {folder}"
    others = sorted(child.name for child in folder.iterdir() if child.suffix in SUFFIXES)
    return f"; {folder} holds {', '.join(others[:4])}" if others else ""


def _index(path: Path) -> dict[str, Path]:
    """Which file each tensor is in; every file lies in the folder of the index."""
    places = _json(path).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(p, str) for p in places.values()):
        raise InputError(f"{path} is no index of shards: it has no weight_map from names to files")
    files = {}
    for place in dict.fromkeys(places.values()):
        parts = {*PurePosixPath(place).parts, *PureWindowsPath(place).parts}
        file = path.parent / place
        if len(parts) != 1 or ".." in parts or (file.is_symlink() and _leaves(file)):
            raise InputError(
                f"{path} names {place!r}, which is not a file of its own folder; it is not opened"
            )
        if not file.is_file():
            raise InputError(f"{path} names {place}, which is not there; fetch all shards")
        files[place] = file
    return {name: files[place] for name, place in places.items()}


def _leaves(file: Path) -> bool:
    """Whether a link leads elsewhere than to a regular file: Hugging Face's cache links to its blobs."""
    return not (
        file.resolve().parent.name == "blobs" and file.resolve().parent.parent in file.absolute().parents
    )


def _json(path: Path) -> dict[str, Any]:
    _check_regular(path)
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as failure:
        raise InputError(f"{path} cannot be read as JSON: {failure}; fetch it again") from failure
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not names and values; fetch it again")
    return content
