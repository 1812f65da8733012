"""Putting a checkpoint's parameters into a network, or saying exactly why they do not fit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape.checkpoints.architectures import guess
from landscape.checkpoints.names import matched
from landscape.checkpoints.weights import printable
from landscape.errors import InputError


def fit(model: nn.Module, state: Mapping[str, Tensor], *, source: str, name: str = "") -> tuple[str, ...]:
    """Loads ``state`` into ``model``, which is changed.

    Names may differ by what wrappers put into them; see :func:`landscape.checkpoints.names.matched`. Weights in
    half precision are up-cast.

    Args:
        model: The network, freshly built.
        state: Parameters and buffers by name.
        source: What to call the checkpoint in messages.
        name: How the network was asked for, such as ``torchvision:resnet18``.

    Returns:
        What was done to make them fit, for the reader.

    Raises:
        InputError: Names, shapes or types differ, with how many, the first ones, and what to try.
    """
    wanted = {k: v for k, v in model.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}
    found = matched(state, wanted, source=source)
    named = found.named
    present = {id(wanted[key]) for key in named if key in wanted}
    missing = [
        key
        for key in wanted
        if key not in named and not key.endswith("num_batches_tracked") and id(wanted[key]) not in present
    ]
    beyond = [key for key in named if key not in wanted]
    unexpected = [key for key in beyond if named[key].is_floating_point() or named[key].is_complex()]
    unlike = [key for key in wanted if key in named and tuple(named[key].shape) != tuple(wanted[key].shape)]
    if missing or unexpected or unlike:
        mismatch = _Mismatch(type(model).__name__, name, source, wanted, named, missing, unexpected, unlike)
        raise InputError(f"{mismatch.explained()}. {mismatch.advice()}")
    notes = list(found.notes)
    left_out = [*found.left_out, *(key for key in beyond if key not in unexpected)]
    if left_out:
        notes.append(
            f"{len(left_out)} tensors are not of this network and were left out, such as {left_out[0]}"
        )
    kept = {key: tensor for key, tensor in named.items() if key in wanted}
    notes += _precision(model, wanted, kept, source)
    model.load_state_dict(kept, strict=False)
    return tuple(printable(note) for note in notes)


def _precision(
    model: nn.Module, wanted: Mapping[str, Tensor], kept: Mapping[str, Tensor], source: str
) -> list[str]:
    """Sees that numbers stay what they are; a network built in single precision becomes double where needed."""
    floating = [key for key in kept if wanted[key].is_floating_point()]
    wrong = [key for key in floating if not kept[key].is_floating_point()]
    if wrong:
        kind = str(kept[wrong[0]].dtype).removeprefix("torch.")
        raise InputError(
            f"{source}: {wrong[0]} is {kind}, but the network's is floating point ({len(wrong)} such tensors); "
            "save the weights in floating point"
        )
    if any(kept[key].dtype == torch.float64 for key in floating):
        model.double()  # a network built in single precision would round the weights
    half = sorted({str(kept[k].dtype).removeprefix("torch.") for k in floating if kept[k].element_size() < 4})
    return [f"weights in {' and '.join(half)} were up-cast"] if half else []


@dataclass(frozen=True)
class _Mismatch:
    """Why a checkpoint does not fit."""

    kind: str
    name: str
    source: str
    wanted: Mapping[str, Tensor]
    named: Mapping[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    unlike: list[str]

    def explained(self) -> str:
        """How many tensors match, and the first that do not."""
        total = len(self.wanted)
        parts = [
            f"{self.source} does not fit {self.kind}: {total - len(self.missing) - len(self.unlike)} of its {total} "
            "tensors match"
        ]
        if self.unlike:
            first = ", ".join(
                f"{key}: {tuple(self.named[key].shape)} in the checkpoint, {tuple(self.wanted[key].shape)} in the model"
                for key in self.unlike[:3]
            )
            parts.append(f"{len(self.unlike)} differ in shape, first {first}")
        if self.missing:
            parts.append(f"{len(self.missing)} are missing, first {self.missing[0]}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} are not in the model, first {self.unexpected[0]}")
        return printable("; ".join(parts))

    def advice(self) -> str:
        """What to try."""
        return self._last_layer() or self._first_layer() or self._positions() or self._another()

    def _last_layer(self) -> str | None:
        last = [key for key, tensor in self.wanted.items() if tensor.ndim >= 1][-2:]
        if not self.unlike or self.missing or self.unexpected or not set(self.unlike) <= set(last):
            return None
        classes = self.named[self.unlike[0]].shape[0]
        name = self.name.partition(":num_classes")[0]
        command = f"-m {name}:num_classes={classes}" if ":" in name and "=" not in name else None
        return (
            f"Only the last layer differs: the checkpoint has {classes} classes; "
            + (f"try {command}" if command else "name the data it was trained on (-d), or for a torchvision ")
            + ("" if command else f"model try -m torchvision:NAME:num_classes={classes}")
        )

    def _first_layer(self) -> str | None:
        first = next((key for key, tensor in self.wanted.items() if tensor.ndim >= 2), None)
        if first is None or self.unlike != [first] or self.missing or self.unexpected:
            return None
        here, there = self.named[first].shape, self.wanted[first].shape
        if len(here) != len(there) or here[0] != there[0]:
            return None
        what = "channels" if len(here) == 4 else "numbers in an input"
        return (
            f"Only the first layer differs: the checkpoint takes {here[1]} {what}, this data have {there[1]}; "
            "name the data it was trained on (-d)"
        )

    def _positions(self) -> str | None:
        keys = [key for key in self.unlike if "pos_embed" in key or "position" in key]
        if not keys or keys != self.unlike or self.missing or self.unexpected:
            return None
        found = guess(self.named)
        other = f": -m {found.model}" if found else ", with img_size=… or image_size=…"
        return f"Only the positions differ: it was trained on pictures of another size; try that size{other}"

    def _another(self) -> str:
        found = guess(self.named)
        if found is not None:
            return f"The checkpoint looks like {found.looks}: try -m {found.model}"
        return "Name the architecture it was trained with: -m NAME:option=value"
