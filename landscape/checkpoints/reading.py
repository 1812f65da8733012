"""Reads a checkpoint of any form, recognised by its contents and opened without running code from it."""

import contextlib
import hashlib
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoints.archive import damaged
from landscape.checkpoints.inert import Array
from landscape.checkpoints.locating import Located, locate
from landscape.checkpoints.opening import Opened, content_sum, open_file
from landscape.checkpoints.pinned import pinned
from landscape.checkpoints.pretrained import Pretrained, pretrained
from landscape.checkpoints.renaming import Renaming
from landscape.checkpoints.weights import Selected, Weights, check_tensors, find_weights, tensors_of
from landscape.errors import InputError, UsageError
from landscape.records.reading import LONGEST_NAME, check_names
from landscape.records.storage import sha256_of_sums

FORMAT = "landscape.checkpoint/1"
RECIPE = "landscape.recipe"
"""Where safetensors written by ``landscape convert`` keep the recipe."""

MOST_NAMES = 1_000_000
"""More names of tensors and settings than any checkpoint has."""

_NOT_SETTINGS = ("recipe", "training", "format", "loops", "callbacks")
_MOST_VALUES, _LONGEST_TEXT = 200, 200  # what a reader of `landscape inspect` can use
_WAY_OUT = "train it again, or save its state_dict alone and name model and data with -m and -d"


@dataclass(frozen=True)
class Contents:
    """A checkpoint's parameters and what else was recognised.

    Attributes:
        path: The file, or the index of several.
        sha256: The hash of the bytes from which the tensors were read; with several files, of all their hashes.
        state: Parameters and buffers by name.
        recipe: How it was trained, for our own checkpoints.
        extra: The other plain values (epoch, metrics, settings such as ``args.lr``).
        form: The format, in words.
        key: Where the parameters were, such as ``state_dict``; empty for the top.
        weights: Whether they are the raw weights or an average of them.
        average: Where an averaged copy is; ``None`` where there is none.
        identity: The hash, followed by the kind of weights where the same file holds others that are usual, and by
            that of what is dropped and renamed.
        config: The contents of ``config.json`` in a Hugging Face folder.
        adapter: The contents of ``adapter_config.json`` beside an adapter of PEFT.
        model: The network, where the weights were named by one: ``timm:resnet18.a1_in1k``.
        module: The class of the network, where it was pickled as a whole and read without its code.
        stored: Bytes on disk.
        notes: Remarks for the reader.
    """

    path: Path
    sha256: str
    state: Mapping[str, Tensor]
    recipe: Mapping[str, Any] | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    form: str = ""
    key: str = ""
    weights: Weights = "raw"
    average: str | None = None
    identity: str = ""
    config: Mapping[str, Any] | None = None
    adapter: Mapping[str, Any] | None = None
    model: str | None = None
    module: str | None = None
    stored: int = 0
    notes: tuple[str, ...] = ()


def read_checkpoint(
    path: str | Path,
    *,
    trust: bool = False,
    weights: Weights | None = None,
    drop: Sequence[str] = (),
    rename: Sequence[str] = (),
    script: ModuleType | None = None,
) -> Contents:
    """Opens a checkpoint of any of the forms in which they are found.

    A bare or nested state dict of ``torch.save``, a whole network of ``torch.save(model)``, safetensors, shards with an
    index, a Hugging Face folder, an adapter of PEFT, what timm, torchvision, Lightning and ``landscape train`` write.
    The hash and the tensors are of the same bytes, also where the file is replaced meanwhile
    (:mod:`landscape.checkpoints.pinned`).

    Args:
        path: The file, an index of shards, or a folder that holds a checkpoint; where there is no such file,
            ``timm:NAME`` or ``hf:NAME`` for pretrained weights from the cache or the hub.
        trust: Whether code stored in the file may run; only for files of your own.
        weights: ``"raw"``, or ``"ema"`` for the averaged copy in it. By default the raw ones; of a run of
            ``landscape train`` those that were evaluated.
        drop: Names of tensors to leave out, or patterns such as ``"head.*"``.
        rename: ``"OLD=NEW"`` for names, and for what names begin with: ``"backbone=encoder"``, ``"model.="``.
        script: The module in which a trusted file finds classes that were saved by a script, in ``__main__``.

    Raises:
        InputError: The file is missing, empty, damaged, would run code when opened, or holds no parameters, or none
            that is to be dropped or renamed.
        UsageError: ``weights`` is neither, or ``rename`` of another form.
    """
    if weights not in (None, "raw", "ema"):
        raise UsageError(f"weights={weights!r} is not one of raw, ema")
    source = pretrained(str(path))
    if source is not None and source.state:
        contents = _of_library(source, weights)
    else:
        contents = _read(Path(path) if source is None else source.folder, trust, weights, script)
    renaming = Renaming(drop, rename)
    state, changes = renaming.applied(contents.path, contents.state)
    return replace(
        contents,
        path=contents.path if source is None or source.path is None else source.path,
        state=state,
        model=None if source is None else source.model,
        identity=contents.identity + renaming.mark,
        notes=(*contents.notes, *(source.notes if source else ()), *changes),
    )


def _of_library(source: Pretrained, weights: Weights | None) -> Contents:
    """The weights that a library has under a name."""
    path = source.path or Path(source.model)
    selected = find_weights(path, source.state, weights=weights)
    digest = content_sum(selected.state, {})
    stored = sum(tensor.nbytes for tensor in selected.state.values())
    form = "pretrained weights of a library"
    return Contents(path, digest, selected.state, form=form, identity=digest, stored=stored)


def _read(path: Path, trust: bool, weights: Weights | None, script: ModuleType | None) -> Contents:
    """What the files at a path hold."""
    located = locate(path)
    parts: list[Opened] = []
    stored = 0
    try:
        for file in located.files:
            with pinned(file) as pin:
                parts.append(open_file(pin, trust=trust, script=script))
                stored += pin.stat().st_size
        digest = _digest(located, [part.sha256 for part in parts])
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise InputError(f"{located.path} cannot be read: {reason}; name another file") from failure
    for part in parts:
        # The same dictionary may occur many times, and every occurrence is searched for weights below.
        names = list(islice(_names(part.content), MOST_NAMES + 1))
        check_names(located.path, names)
        if len(names) > MOST_NAMES:
            raise damaged(located.path, f"it holds more than {MOST_NAMES:,} names")
    loaded = _joined(located, parts)
    recipe = _recipe(located.path, loaded, parts[0].metadata)
    selected = _selected(located.path, loaded, weights)
    check_tensors(located.path, selected.state, stored=stored)
    return Contents(
        path=located.path,
        sha256=digest,
        state=selected.state,
        recipe=recipe,
        extra=_plain(loaded) if selected.key else {},
        form=_form(parts[0].form, loaded, located),
        key=selected.key,
        weights=selected.kind,
        average=selected.average,
        identity=digest if selected.usual else f"{digest}:{selected.kind}",
        config=located.config,
        adapter=located.adapter,
        module=parts[0].classes.get(selected.key.removesuffix("(AveragedModel)").strip()),
        stored=stored,
        notes=(*located.notes, *parts[0].notes, *selected.notes),
    )


def _names(content: object, depth: int = 3) -> Iterator[object]:
    """The keys of a dictionary, and of dictionaries in it, as deep as weights are looked for."""
    if isinstance(content, Mapping) and depth:
        yield from content
        for inner in content.values():
            yield from _names(inner, depth - 1)


def _digest(located: Located, sums: list[str]) -> str:
    """The hash of the bytes that were read; of several files, that of the index and of all of them."""
    if located.files == (located.path,):
        return sums[0]
    index = located.path.read_bytes()  # again: it may have been replaced since the files were located
    with contextlib.suppress(ValueError, RecursionError, TypeError, AttributeError):
        names = json.loads(index)["weight_map"]
        if {name: located.path.parent / place for name, place in names.items()} == dict(located.names):
            return sha256_of_sums([hashlib.sha256(index).hexdigest(), *sums])
    raise InputError(
        f"{located.path} was written to while it was read; run the command again once it is whole"
    )


def _joined(located: Located, parts: list[Opened]) -> Mapping[Any, Any]:
    """What a file holds, or the tensors of all shards together."""
    content = parts[0].content
    if not located.names:
        if isinstance(content, torch.nn.Module):
            return content.state_dict()
        if not isinstance(content, Mapping):
            kind = "NumPy array" if isinstance(content, Array) else type(content).__name__
            raise InputError(
                f"{located.path} holds a {kind}, not parameters by name; save model.state_dict() instead"
            )
        return content
    shards = {file: tensors_of(part.content) for file, part in zip(located.files, parts, strict=True)}
    absent = [name for name, file in located.names.items() if name not in shards[file]]
    if absent:
        raise InputError(
            f"{located.path} says that {absent[0]} is in {located.names[absent[0]].name}, which does not hold it "
            f"({len(absent)} such names); fetch the shards of one and the same checkpoint"
        )
    return {name: shards[file][name] for name, file in located.names.items()}


def _selected(file: Path, loaded: Mapping[Any, Any], weights: Weights | None) -> Selected:
    """The weights; of a run that keeps an average, that is what was evaluated."""
    training = loaded.get("training")
    if _is_ours(loaded) and isinstance(training, Mapping) and tensors_of(training.get("model")):
        both = {"state_dict": training["model"], "ema_state_dict": loaded.get("state_dict")}
        return find_weights(file, both, weights=weights, usual="ema")
    return find_weights(file, loaded, weights=weights)


def _is_ours(loaded: Mapping[Any, Any]) -> bool:
    return isinstance(loaded.get("format"), str) and loaded["format"] == FORMAT


def _recipe(file: Path, loaded: Mapping[Any, Any], metadata: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The recipe of one of our own checkpoints, ``None`` for any other."""
    if RECIPE not in metadata and not _is_ours(loaded):
        return None
    recipe = loaded.get("recipe")
    if RECIPE in metadata:
        try:
            recipe = json.loads(metadata[RECIPE])
        except (ValueError, RecursionError):
            recipe = None
    if not isinstance(recipe, dict) or not all(isinstance(recipe.get(key), str) for key in ("model", "data")):
        raise InputError(
            f"{file} says that it is a {FORMAT}, but its recipe names no model and data; {_WAY_OUT}"
        )
    for name, value in recipe.items():
        if not _is_plain(name, value):
            raise InputError(
                f"{file}: its recipe has {reprlib.repr(value)} for {reprlib.repr(name)}, which is no text and no "
                f"number; {_WAY_OUT}"
            )
    return recipe


def _is_plain(name: object, value: object) -> bool:
    """Whether records can say this of a recipe: their schema has the same types."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # TOML has no larger numbers
        return False
    return isinstance(name, str) and (value is None or isinstance(value, (str, bool, int, float)))


def _form(form: str, loaded: Mapping[Any, Any], located: Located) -> str:
    """The format, with the program that wrote it where that is recognisable."""
    makers = {
        "landscape train": _is_ours(loaded),
        "PEFT": located.adapter is not None,
        "Lightning": "pytorch-lightning_version" in loaded,
        "Hugging Face": located.config is not None,
        "timm": isinstance(loaded.get("arch"), str) and "state_dict" in loaded and "args" in loaded,
    }
    shards = f", {len(located.files)} shards" if located.names else ""
    return f"{form}{shards}{next((f', by {maker}' for maker, true in makers.items() if true), '')}"


def _plain(loaded: Mapping[Any, Any]) -> dict[str, object]:
    """Numbers and texts at the top, and those one level below in settings and metrics."""
    # One object with many settings may stand under many keys.
    values = ((name, _short(value)) for name, value in islice(_all_settings(loaded), MOST_NAMES))
    return dict(islice(((name, value) for name, value in values if value is not None), _MOST_VALUES))


def _all_settings(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, object]]:
    """The values at the top and one level below, with names joined by a dot; too long names are left out."""
    known: dict[int, Mapping[Any, Any]] = {}
    for key, value in loaded.items():
        if isinstance(key, str):
            yield key, value
            if key in _NOT_SETTINGS:
                continue
            if id(value) not in known:
                known[id(value)] = _settings(value)
            for name, item in known[id(value)].items():
                if isinstance(name, (str, int, float)) and len(str(name)) <= LONGEST_NAME:
                    yield f"{key}.{name}", item


def _settings(value: object) -> Mapping[Any, Any]:
    """The items of a dictionary or the attributes of an object, unless these are weights."""
    inner = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    weights = not isinstance(inner, Mapping) or any(isinstance(v, Tensor) and v.ndim for v in inner.values())
    return {} if weights else inner


def _short(value: object) -> str | float | None:
    """A number or a short text; ``None`` for anything else."""
    if isinstance(value, Tensor) and value.ndim == 0 and value.device.type == "cpu":
        value = value.item()
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else None
    return value if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**30) else None
