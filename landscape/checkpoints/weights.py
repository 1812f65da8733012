"""Selects the network's weights among the contents of a checkpoint, and tells them from averaged copies."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.checkpoints.archive import GENEROUS, printable
from landscape.checkpoints.inert import MOST_DIMENSIONS, Array
from landscape.errors import InputError

Weights = Literal["raw", "ema"]
State = dict[str, Tensor]

NESTED = tuple(
    "state_dict model_state_dict model_state model net last network module params weights checkpoint state".split()
)
"""Keys under which the parameters are found in the wild, the most explicit first."""

AVERAGED = (
    *("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "model_ema_state_dict"),
    *("ema_model_state_dict", "params_ema", "ema", "swa_model", "swa_state_dict"),
)
"""Keys of averaged copies."""

# Types with one number an element. Types that pack several, such as float4_e2m1fn_x2, are left out; the lookup by name
# is for versions of torch that lack some.
NUMBERS = frozenset(
    dtype
    for name in (
        "float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
        "int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool complex128 complex64 complex32"
    ).split()
    if (dtype := getattr(torch, name, None)) is not None
)
_PACKED = (
    "these are packed weights of a network that torch.ao has quantised, which no file of tensors can hold: load it "
    "yourself and pass it to landscape.Objective; otherwise "
)
_AVERAGED_PREFIX = re.compile(
    r"(?:model_ema|ema_model|ema|swa_model|averaged_model|[a-z_]+_ema|ema_[a-z_]+)\."
)


@dataclass(frozen=True)
class Selected:
    """The weights of a checkpoint, their place, and that of an averaged copy."""

    state: State
    key: str
    kind: Weights = "raw"
    average: str | None = None
    usual: bool = True  # they are selected by default
    notes: tuple[str, ...] = ()


def find_weights(
    file: Path, loaded: Mapping[Any, Any], *, weights: Weights | None, usual: Weights = "raw"
) -> Selected:
    """Selects the raw weights, which training moves, or their average; ``usual`` where ``weights`` is ``None``."""
    averages = [(key, tensors) for key in AVERAGED if (tensors := tensors_of(loaded.get(key)))]
    key, state = next(_candidates(loaded), None) or _only_other(file, loaded, averaged=bool(averages))
    if "current_model_state" in loaded and "averaging_state" in loaded:
        # Lightning's WeightAveraging puts the average under the usual key.
        averages = [(key, state)]
        key, state = "current_model_state", tensors_of(loaded["current_model_state"])
    if not averages:
        state, beside = _split(state)
        averages = [(f"{prefix}*", copy) for prefix, copy in beside.items()]
    average, averaged_state = averages[0] if averages else (None, {})
    if average is not None and not state:
        note = f"it holds only averaged weights ({average})"
        return Selected(*_counted(averaged_state, average), "ema", average, notes=(note,))
    kind = weights or usual
    if kind == "raw":
        note = f"it also holds averaged weights, under {average}; --weights ema selects them"
        notes = (note,) if average is not None else ()
        return Selected(*_counted(state, key), "raw", average, average is None or usual == "raw", notes)
    if average is None:
        raise InputError(
            f"{file} holds no averaged weights (looked for under {', '.join(AVERAGED[:4])}, …); leave out "
            "--weights ema (weights='ema')"
        )
    note = f"the averaged weights under {average} are used, not the raw ones"
    return Selected(*_counted(averaged_state, average), "ema", average, usual == "ema", (note,))


def tensors_of(content: object) -> State:
    """The tensors by name in a mapping or a network; empty for anything else."""
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        return {}
    values = {k: v.tensor if isinstance(v, Array) else v for k, v in content.items() if isinstance(k, str)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _candidates(loaded: Mapping[Any, Any], outer: str = "") -> Iterator[tuple[str, State]]:
    """Weights with their place: under a known key, at the top, one level below a known key."""
    for key in NESTED:
        if tensors := tensors_of(loaded.get(key)):
            yield f"{outer}{key}", tensors
    if outer:
        return
    top = tensors_of(loaded)
    if any(tensor.ndim for tensor in top.values()):  # scalars at the top are metrics
        yield "", top
    for key in NESTED:
        if isinstance(loaded.get(key), Mapping):
            yield from _candidates(loaded[key], f"{key}.")


def _only_other(file: Path, loaded: Mapping[Any, Any], *, averaged: bool) -> tuple[str, State]:
    """The single mapping of tensors under an unusual key; empty if there are averaged weights only."""
    others = {
        str(key): tensors
        for key, value in loaded.items()
        if key not in AVERAGED and "optim" not in str(key) and (tensors := tensors_of(value))
    }
    if len(others) == 1:
        return next(iter(others.items()))
    if others:
        raise InputError(
            f"{file} holds several sets of weights ({', '.join(list(others)[:6])}) and none is under a usual name; "
            "save the one you mean alone: torch.save(checkpoint[NAME], 'weights.pt')"
        )
    if averaged:
        return "", {}
    keys = ", ".join(printable(str(key)) for key in list(loaded)[:6]) or "nothing"
    raise InputError(
        f"{file} holds no parameters (found: {keys}): "
        + ("it is the state of an optimizer, " if {"state", "param_groups"} <= set(loaded) else "")
        + (_PACKED if any("_packed_params" in str(key) for key in loaded) else "")
        + "name the file of model.state_dict(), or one that has it at the top or under "
        + ", ".join(NESTED)
    )


def _split(state: State) -> tuple[State, dict[str, State]]:
    """The weights, and by prefix the averaged copies that lie beside them, as Lightning modules keep them."""
    copies: dict[str, State] = {}
    rest = {}
    for name, tensor in state.items():
        if prefix := _AVERAGED_PREFIX.match(name):
            copies.setdefault(prefix[0], {})[name.removeprefix(prefix[0])] = tensor
        else:
            rest[name] = tensor
    # It is a copy only if each of its names ends a name of the rest; otherwise it is a part of the network.
    alone = {name.removeprefix("module.") for copy in copies.values() for name in copy if "." in name}
    for name in rest if alone else ():
        alone.difference_update(
            name[start:] for start in (0, *(k + 1 for k, c in enumerate(name) if c == "."))
        )
    return (rest, copies) if rest and copies and not alone else (state, {})


def _counted(state: State, key: str) -> tuple[State, str]:
    """The state and its place; the counter of ``torch.optim.swa_utils.AveragedModel`` is left out."""
    others = [name for name in state if name != "n_averaged"]
    if len(others) == len(state) or not others or not all(name.startswith("module.") for name in others):
        return state, key
    return {name: state[name] for name in others}, f"{key} (AveragedModel)".strip()


def check_tensors(file: Path, state: Mapping[str, Tensor], *, stored: int) -> None:
    """Raises :class:`InputError` unless every tensor is plain and named in text, and all fit ``stored`` bytes."""
    for name, tensor in state.items():
        if printable(name) != name:
            raise InputError(f"{file}: the tensor name '{printable(name)}' is not text; the file is damaged")
        if (kind := _odd(tensor)) is not None:
            raise InputError(
                f"{file}: {name} is not a plain tensor of numbers ({kind}); save the weights in floating point"
            )
    # Views may repeat numbers: an expanded tensor of 4 bytes can claim 4 TB, which a copy would need.
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > 4 * stored + GENEROUS:
        raise InputError(
            f"{file}: its tensors would have {claimed:,} bytes, but the file has {stored:,}; it is damaged"
        )


def _odd(tensor: Tensor) -> str | None:
    """The kind of a tensor that holds no plain numbers; ``None`` where it does."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return f"{tensor.layout} on {tensor.device}"
    if tensor.dtype not in NUMBERS:
        return str(tensor.dtype).removeprefix("torch.")
    return f"{tensor.ndim} dimensions" if tensor.ndim > MOST_DIMENSIONS else None
