"""Puts a checkpoint's tensors into a network, or says exactly why they do not fit."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from landscape.checkpoints.architectures import UNNAMED, guess
from landscape.checkpoints.archive import printable
from landscape.checkpoints.names import matched
from landscape.errors import InputError


def fit(
    model: nn.Module, state: Mapping[str, Tensor], *, source: str, name: str = "", copy: bool = True
) -> tuple[str, ...]:
    """Loads ``state`` into ``model``, in place; raises :class:`InputError` with what to try if they do not fit.

    Args:
        model: The network.
        state: Its weights and buffers.
        source: The file, for messages.
        name: The name of the network, for messages.
        copy: Whether weights are copied; otherwise those of the network become the tensors of ``state`` themselves,
            such as parts of a file that is mapped into memory.

    Returns:
        What was done to make them fit: names without the parts that wrappers put into them, half precision up-cast.
    """
    network = {k: v for k, v in model.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}
    match = matched(state, network, source=source)
    named = match.named
    present = {id(network[key]) for key in named if key in network}  # a tied weight may be stored once
    absent = [key for key in network if key not in named and id(network[key]) not in present]
    beyond = [key for key in named if key not in network]
    mismatch = _Mismatch(
        kind=type(model).__name__,
        name=name,
        source=source,
        network=network,
        named=named,
        missing=[key for key in absent if not key.endswith("num_batches_tracked")],
        unexpected=[key for key in beyond if named[key].is_floating_point() or named[key].is_complex()],
        unlike=[key for key in network if key in named and named[key].shape != network[key].shape],
    )
    if mismatch.missing or mismatch.unexpected or mismatch.unlike:
        raise InputError(f"{mismatch.explained()}. {mismatch.advice()}")
    notes = list(match.notes)
    if left_out := [*match.left_out, *beyond]:
        notes.append(
            f"{len(left_out)} tensors do not belong to this network and were left out, such as {left_out[0]}"
        )
    fitting = {key: tensor for key, tensor in named.items() if key in network}
    notes += _match_precision(model, network, fitting, source)
    if not copy:
        fitting = _replaced(model, network, fitting)
    model.load_state_dict(fitting, strict=False)
    return tuple(printable(note) for note in notes)


def _replaced(
    model: nn.Module, network: Mapping[str, Tensor], fitting: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Makes parameters of tensors, under all names of each; returns the tensors of buffers, which are few."""
    parameters = {
        id(before): nn.Parameter(fitting[key].detach(), requires_grad=before.requires_grad)
        for key, before in network.items()
        if key in fitting and isinstance(before, nn.Parameter)
    }
    for module in model.modules():
        for leaf, before in module._parameters.items():
            if before is not None and id(before) in parameters:
                module._parameters[leaf] = parameters[id(before)]
    return {key: tensor for key, tensor in fitting.items() if id(network[key]) not in parameters}


def _match_precision(
    model: nn.Module, network: Mapping[str, Tensor], fitting: Mapping[str, Tensor], source: str
) -> list[str]:
    """Makes the network double where its weights are, and refuses numbers of another kind."""
    floating = {key: tensor for key, tensor in fitting.items() if network[key].is_floating_point()}
    kinds = {key: str(tensor.dtype).removeprefix("torch.") for key, tensor in floating.items()}
    if wrong := [key for key, tensor in floating.items() if not tensor.is_floating_point()]:
        raise InputError(
            f"{source}: {wrong[0]} is {kinds[wrong[0]]}, but the network's is floating point ({len(wrong)} such "
            "tensors); save the weights in floating point"
        )
    if "float64" in kinds.values():
        model.double()  # a network built in single precision would round the weights
    half = sorted({kinds[key] for key, tensor in floating.items() if tensor.element_size() < 4})
    return [f"weights in {' and '.join(half)} were up-cast"] if half else []


@dataclass(frozen=True, kw_only=True)
class _Mismatch:
    """Why a checkpoint does not fit: names by what is wrong with their tensors."""

    kind: str
    name: str
    source: str
    network: Mapping[str, Tensor]
    named: Mapping[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    unlike: list[str]

    def explained(self) -> str:
        """How many tensors match, and the first that do not."""
        total = len(self.network)
        matching = total - len(self.missing) - len(self.unlike)
        parts = [f"{self.source} does not fit {self.kind}: {matching} of its {total} tensors match"]
        if self.unlike:
            shapes = [
                (key, tuple(self.named[key].shape), tuple(self.network[key].shape)) for key in self.unlike
            ]
            first = ", ".join(
                f"{key}: {here} in the checkpoint, {there} in the model" for key, here, there in shapes[:3]
            )
            parts.append(f"{len(self.unlike)} differ in shape, first {first}")
        if self.missing:
            parts.append(f"{len(self.missing)} are missing, first {self.missing[0]}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} are not in the model, first {self.unexpected[0]}")
        return printable("; ".join(parts))

    def advice(self) -> str:
        """What to try."""
        similar = guess(self.named)
        if not self.missing and not self.unexpected:
            if all("pos_embed" in key or "position" in key for key in self.unlike):
                known = similar is not None and similar.model != UNNAMED
                other = f": -m {similar.model}" if similar and known else ", with img_size=… or image_size=…"
                return f"Only the positions differ: it was trained on pictures of another size; try that size{other}"
            last = [key for key, tensor in self.network.items() if tensor.ndim >= 1][-2:]
            if set(self.unlike) <= set(last):
                return self._other_classes(self.named[self.unlike[0]].shape[0])
            first = next((key for key, tensor in self.network.items() if tensor.ndim >= 2), None)
            if first is not None and self.unlike == [first]:
                here, there = self.named[first].shape, self.network[first].shape
                if len(here) == len(there) and here[0] == there[0]:
                    inputs = "channels" if len(here) == 4 else "numbers in an input"
                    return (
                        f"Only the first layer differs: the checkpoint takes {here[1]} {inputs}, these data have "
                        f"{there[1]}; name the data it was trained on (-d)"
                    )
        if similar is not None:
            return f"The checkpoint looks like {similar.looks}: try -m {similar.model}"
        if self.unexpected and not self.missing and not self.unlike:
            return (
                f"If the network does without them, leave them out: --drop {shlex.quote(self.unexpected[0])}"
            )
        return (
            "Name the architecture it was trained with: -m NAME:option=value, or its names: --rename OLD=NEW"
        )

    def _other_classes(self, classes: int) -> str:
        scheme, _, _ = (name := self.name.partition(":num_classes")[0]).partition(":")
        option = {"torchvision": "num_classes", "timm": "num_classes", "hf": "num_labels"}.get(scheme)
        if option is not None and "=" not in name:
            way_out = f"try -m {name}:{option}={classes}"
        else:
            way_out = "name the data it was trained on (-d), or the number of classes in -m, such as "
            way_out += f"torchvision:NAME:num_classes={classes}"
        return f"Only the last layer differs: the checkpoint has {classes} classes; {way_out}"
