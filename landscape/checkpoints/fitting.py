"""Putting a checkpoint's parameters into a network, or saying exactly why they do not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from landscape.errors import InputError

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What DataParallel, torch.compile and Lightning put before every name."""


def fit(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Loads ``state`` into ``model``, which is changed.

    Prefixes of wrappers are stripped until none is left, where that makes the names match.

    Args:
        model: The network, freshly built.
        state: Parameters and buffers by name.
        source: What to call the checkpoint in messages.

    Raises:
        InputError: Names or shapes differ, with how many, the first ones, and what to try.
    """
    wanted = model.state_dict()
    named = stripped(state, set(wanted))
    missing = [name for name in wanted if name not in named]
    unexpected = [name for name in named if name not in wanted]
    unlike = [
        name for name in wanted if name in named and tuple(named[name].shape) != tuple(wanted[name].shape)
    ]
    if missing or unexpected or unlike:
        raise InputError(_explained(type(model).__name__, source, wanted, named, missing, unexpected, unlike))
    if any(tensor.dtype == torch.float64 for tensor in named.values()):
        model.double()  # a network built in single precision would round the weights
    model.load_state_dict({name: named[name] for name in wanted})


def stripped(state: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """The state without wrappers' prefixes that the model does not use itself."""
    named = dict(state)
    while True:
        prefix = next(
            (
                p
                for p in PREFIXES
                if all(n.startswith(p) for n in named) and not any(w.startswith(p) for w in wanted)
            ),
            None,
        )
        if prefix is None:
            return named
        named = {name[len(prefix) :]: tensor for name, tensor in named.items()}


def _explained(
    kind: str,
    source: str,
    wanted: Mapping[str, Tensor],
    named: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    unlike: list[str],
) -> str:
    matched = len(wanted) - len(missing) - len(unlike)
    parts = [f"{source} does not fit {kind}: {matched} of its {len(wanted)} tensors match"]
    if unlike:
        name = unlike[0]
        parts.append(
            f"{len(unlike)} differ in shape, first {name}: {tuple(named[name].shape)} in the checkpoint, "
            f"{tuple(wanted[name].shape)} in the model"
        )
    if missing:
        parts.append(f"{len(missing)} are missing, first {missing[0]}")
    if unexpected:
        parts.append(f"{len(unexpected)} are not in the model, first {unexpected[0]}")
    return "; ".join(parts) + ". " + _advice(wanted, named, missing, unlike)


def _advice(
    wanted: Mapping[str, Tensor], named: Mapping[str, Tensor], missing: list[str], unlike: list[str]
) -> str:
    last = [name for name in wanted if wanted[name].ndim >= 1][-2:]
    if unlike and not missing and set(unlike) <= set(last):
        classes = named[unlike[0]].shape[0]
        return (
            f"Only the last layer differs: the checkpoint has {classes} classes; name the data it was trained on "
            f"(-d), or for a torchvision model try -m torchvision:NAME:num_classes={classes}"
        )
    return "Name the architecture it was trained with: -m NAME:option=value"
