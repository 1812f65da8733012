"""A network called with other tensors in the place of its parameters and buffers."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def called_with(model: nn.Module, tensors: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """``model(*args, **kwargs)`` with some parameters and buffers replaced, wherever in the model; then put back.

    ``torch.func.functional_call`` by itself does not put back those of a module that is registered under two names: it
    replaces them twice, and what it then takes for the original is the first replacement.

    Args:
        model: The network; afterwards as before.
        tensors: By name, as in ``model.named_parameters()`` and ``model.named_buffers()``.
        args: What it is called with.
        kwargs: Likewise.
    """
    named = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
    places = {
        f"{prefix}.{leaf}" if prefix else leaf: tensors[named[id(t)]]
        for prefix, module in model.named_modules()
        for leaf, t in (*module._parameters.items(), *module._buffers.items())
        if t is not None and named[id(t)] in tensors
    }
    return torch.func.functional_call(model, places, args, kwargs, tie_weights=False)


class _Acting(nn.Module):
    """A network beside which something is done while its tensors are replaced."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, act: Callable[[], T]) -> T:
        return act()


def acting_with(model: nn.Module, tensors: Mapping[str, Tensor], act: Callable[[], T]) -> T:
    """``act()`` while parameters and buffers are replaced as by :func:`called_with`.

    A backward pass belongs inside where activations may be checkpointed: they are computed again during it.
    """
    named = {f"model.{name}": tensor for name, tensor in tensors.items()}
    result: T = called_with(_Acting(model), named, act)
    return result
