"""A network called with other tensors in the place of its parameters and buffers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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
