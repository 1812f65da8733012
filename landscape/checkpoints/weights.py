"""Which of the things in a checkpoint are the network's weights, and which are averaged copies of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.checkpoints.archive import GENEROUS
from landscape.checkpoints.inert import Array
from landscape.errors import InputError

Weights = Literal["raw", "ema"]

NESTED = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "last",
    "network",
    "module",
    "params",
    "weights",
    "checkpoint",
    "state",
)
"""Keys under which the parameters are found in the wild, the most explicit first."""

AVERAGED = (
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "params_ema",
    "ema",
    "swa_model",
    "swa_state_dict",
)
"""Keys of averaged copies."""

_MOST_DIMENSIONS = 64  # of torch's own loops over elements
_NUMBERS = frozenset(
    dtype
    for name in (
        "float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
        "int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool complex128 complex64 complex32"
    ).split()
    if (dtype := getattr(torch, name, None)) is not None
)
"""Types with one number an element; types that pack several, such as ``float4_e2m1fn_x2``, are none of them."""

_AVERAGED_PREFIX = re.compile(
    r"(?:model_ema|ema_model|ema|swa_model|averaged_model|[a-z_]+_ema|ema_[a-z_]+)\."
)


@dataclass(frozen=True)
class Found:
    """The weights of a checkpoint.

    Attributes:
        state: Parameters and buffers by name.
        key: Where they were, such as ``state_dict``; empty for the top.
        chosen: Whether they are the raw weights or an average of them.
        average: Where an averaged copy is; ``None`` where there is none.
        notes: Remarks for the reader.
    """

    state: dict[str, Tensor]
    key: str
    chosen: Weights = "raw"
    average: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def find_weights(file: Path, loaded: Mapping[Any, Any], *, weights: Weights | None = None) -> Found:
    """The weights in what a file holds.

    Args:
        file: What to call it in messages.
        loaded: Its content.
        weights: ``raw`` for the weights that training moves, ``ema`` for their average; by default the raw ones.

    Raises:
        InputError: There are none, several that cannot be told apart, or no average though one was asked for.
    """
    raw = next(_candidates(loaded), None) or _only_other(file, loaded)
    averages = [(key, tensors_of(loaded.get(key))) for key in AVERAGED]
    found = [(key, state) for key, state in averages if state]
    key, state = raw
    if "current_model_state" in loaded and "averaging_state" in loaded:  # Lightning's WeightAveraging
        found, (key, state) = (
            [(key, state)],
            ("current_model_state", tensors_of(loaded["current_model_state"])),
        )
    if not found:
        state, beside = _split(state)
        found = [(f"{prefix}*", copy) for prefix, copy in beside.items()]
    if not state and found:
        key, state = found[0]
        only = (f"it holds only averaged weights ({key})",)
        return Found(*_counted(state, key), chosen="ema", average=key, notes=only)
    average = found[0][0] if found else None
    if weights == "ema":
        if average is None:
            raise InputError(
                f"{file} holds no averaged weights (looked for under {', '.join(AVERAGED[:4])}, …); leave out "
                "--weights ema (weights='ema')"
            )
        state, place = _counted(found[0][1], average)
        return Found(
            state,
            place,
            "ema",
            average,
            (f"the averaged weights under {average} are used, not the raw ones",),
        )
    state, place = _counted(state, key)
    if not average:
        return Found(state, place)
    said = f"averaged weights are there too, under {average}; --weights ema takes them"
    return Found(state, place, "raw", average, (said,))


def tensors_of(content: object) -> dict[str, Tensor]:
    """The tensors by name in a mapping or a network; empty for anything else."""
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        return {}
    tensors = {}
    for name, value in content.items():
        value = value.tensor() if isinstance(value, Array) else value
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
    return tensors


def _candidates(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Weights by where they are found: under a known key, at the top, one level below a known key."""
    for key in NESTED:
        if tensors := tensors_of(loaded.get(key)):
            yield key, tensors
    top = tensors_of(loaded)
    if any(tensor.ndim for tensor in top.values()):
        yield "", top
    for outer in NESTED:
        inside = loaded.get(outer)
        if not isinstance(inside, Mapping):
            continue
        for key in NESTED:
            if tensors := tensors_of(inside.get(key)):
                yield f"{outer}.{key}", tensors


def _only_other(file: Path, loaded: Mapping[Any, Any]) -> tuple[str, dict[str, Tensor]]:
    """The one mapping of tensors under a key that nobody else uses, or averaged weights alone."""
    others = {
        str(key): tensors
        for key, value in loaded.items()
        if key not in AVERAGED and "optim" not in str(key) and (tensors := tensors_of(value))
    }
    if len(others) == 1:
        return next(iter(others.items()))
    if len(others) > 1:
        raise InputError(
            f"{file} holds several sets of weights ({', '.join(list(others)[:6])}) and none is under a usual name; "
            "save the one you mean alone: torch.save(checkpoint[NAME], 'weights.pt')"
        )
    if any(tensors_of(loaded.get(key)) for key in AVERAGED):
        return "", {}
    keys = ", ".join(printable(str(key)) for key in list(loaded)[:6]) or "nothing"
    raise InputError(
        f"{file} holds no parameters (found: {keys}); they are looked for at the top and under {', '.join(NESTED)}"
    )


def _split(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The weights without averaged copies that lie beside them, as Lightning modules keep them."""
    copies: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if prefix := _AVERAGED_PREFIX.match(name):
            copies.setdefault(prefix[0], {})[name.removeprefix(prefix[0])] = tensor
    rest = {name: tensor for name, tensor in state.items() if not _AVERAGED_PREFIX.match(name)}
    alone = {name.removeprefix("module.") for copy in copies.values() for name in copy if "." in name}
    for name in rest if alone else ():
        alone.difference_update(
            name[start:] for start in (0, *(i + 1 for i, c in enumerate(name) if c == "."))
        )
    return (rest, copies) if rest and copies and not alone else (state, {})


def _counted(state: dict[str, Tensor], key: str) -> tuple[dict[str, Tensor], str]:
    """The state and its place, without the counter of ``torch.optim.swa_utils.AveragedModel``."""
    others = [name for name in state if name != "n_averaged"]
    if "n_averaged" in state and others and all(name.startswith("module.") for name in others):
        state = {name: state[name] for name in others}
        key = f"{key} (AveragedModel)".strip()
    return state, key


def check_tensors(file: Path, state: Mapping[str, Tensor], *, stored: int) -> None:
    """Sees that every tensor is dense, named in text, and that all together are no larger than the file allows.

    Args:
        file: What to call it in messages.
        state: The tensors.
        stored: Bytes on disk.

    Raises:
        InputError: One is not.
    """
    for name, tensor in state.items():
        if printable(name) != name:
            raise InputError(f"{file}: the tensor name '{printable(name)}' is not text; the file is damaged")
        if (kind := _odd(tensor)) is not None:
            raise InputError(
                f"{file}: {name} is not a plain tensor of numbers ({kind}); save the weights in floating point"
            )
    shown = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if shown > 4 * stored + GENEROUS:
        raise InputError(
            f"{file}: its tensors would have {shown:,} bytes, but the file has {stored:,}; it is damaged"
        )


def _odd(tensor: Tensor) -> str | None:
    """What a tensor is that holds no plain numbers; ``None`` where it does."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return f"{tensor.layout} on {tensor.device}"
    if tensor.dtype not in _NUMBERS:
        return str(tensor.dtype).removeprefix("torch.")
    return f"{tensor.ndim} dimensions" if tensor.ndim > _MOST_DIMENSIONS else None


def printable(text: str) -> str:
    """The text with everything that a terminal would act on, or could not show, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
