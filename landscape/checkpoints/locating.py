"""Locates the files that hold the weights: one file, a file in a folder, or shards with an index."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from landscape.errors import InputError
from landscape.records.reading import check_regular, read_text
from landscape.records.run_folder import CHECKPOINT, WEIGHT_SUFFIXES

_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_IN_FOLDER = (
    *(CHECKPOINT, "model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
    *_ADAPTERS,
)
"""Files that stand for the folder they are in; the first that exists is used."""


@dataclass(frozen=True)
class Located:
    """The file or index that was named, the files with tensors, and which of them holds each name of an index.

    ``config`` is that of a network, and ``adapter`` the settings of an adapter, which lie beside the weights.
    """

    path: Path
    files: tuple[Path, ...]
    names: Mapping[str, Path] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    adapter: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def locate(path: Path) -> Located:
    """The files that hold the weights, for a file, a folder with one in it, or an index of shards."""
    config = None
    if path.is_dir():
        folder, path = path, _in_folder(path)
        config = _read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    _check_file(path)
    if path.name.endswith(".index.json"):
        names = _shards(path)
        return Located(path, tuple(dict.fromkeys(names.values())), names, config)
    shard = re.search(r"-\d{5}-of-\d{5}\.", path.name)
    note = "this is one of several shards; name their folder, or their index, to read all of them"
    adapter = _read_json(path.parent / "adapter_config.json") if path.name in _ADAPTERS else None
    return Located(path, (path,), config=config, adapter=adapter, notes=(note,) if shard else ())


def _in_folder(folder: Path) -> Path:
    indexes = sorted(folder.glob("*.index.json"))
    for name in _IN_FOLDER:
        if (folder / name).is_file():
            return folder / name
        if (index := folder / f"{name}.index.json") in indexes:
            return index
    if len(indexes) == 1:
        return indexes[0]
    if (folder / ".metadata").is_file():
        raise InputError(
            f"{folder} is a checkpoint of torch.distributed; join it first: python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {folder} checkpoint.pt"
        )
    content = ", ".join(sorted(child.name for child in folder.iterdir())[:5]) or "nothing"
    raise InputError(
        f"{folder} is a folder without a checkpoint.pt, model.safetensors or pytorch_model.bin (it holds {content}); "
        "name the file"
    )


def _check_file(path: Path) -> None:
    """Refuses what is not a regular file; of one that does not exist, says what is beside it."""
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(
                f"{path} is a symbolic link to {path.readlink()}, which does not exist"
            ) from None
        folder = path.parent
        if re.match(r"\w{2,}:/", str(path)):  # a path keeps one of the two slashes
            raise InputError(
                f"{path} is the address of a file: download it, and name the file here"
            ) from None
        if any(sign in str(path) for sign in "*?["):
            raise InputError(f"{path} is a pattern that matches no file; check the folder") from None
        if not folder.is_dir():
            raise InputError(f"{path} does not exist, nor does its folder {folder}") from None
        others = sorted(child.name for child in folder.iterdir() if child.suffix in WEIGHT_SUFFIXES)
        beside = f"; {folder} holds {', '.join(others[:4])}" if others else ""
        raise InputError(f"{path} does not exist{beside}") from None
    except (OSError, ValueError):
        pass  # such as a loop of links, which check_regular explains
    check_regular(path)


def _shards(index: Path) -> dict[str, Path]:
    """Which file each tensor is in; every file lies in the folder of the index."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(p, str) for p in places.values()):
        raise InputError(f"{index} is not an index of shards: it has no weight_map from names to files")
    files = {}
    for place in dict.fromkeys(places.values()):
        # An index for one system may be opened on another, where the same text is a path to elsewhere.
        parts = {*PurePosixPath(place).parts, *PureWindowsPath(place).parts}
        file = index.parent / place
        if len(parts) != 1 or ".." in parts or (file.is_symlink() and not _is_in_cache(file)):
            raise InputError(
                f"{index} names {place!r}, which is not a file of its own folder; it is not opened"
            )
        if not file.is_file():
            raise InputError(f"{index} names {place}, which does not exist; fetch all shards")
        files[place] = file
    return {name: files[place] for name, place in places.items()}


def _is_in_cache(link: Path) -> bool:
    """Whether a link stays in a cache of Hugging Face, whose snapshots link to its blobs."""
    blobs = link.resolve().parent
    return blobs.name == "blobs" and blobs.parent in link.absolute().parents


def _read_json(path: Path) -> dict[str, Any]:
    _check_file(path)
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as failure:
        raise InputError(f"{path} cannot be read as JSON: {failure}; fetch it again") from failure
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not names and values; fetch it again")
    return content
