"""Recurrent layers by the plain kernels: those of cuDNN and oneDNN have no second derivative."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from landscape.isolation import Shared


def use_plain_kernels(model: nn.Module) -> list[str]:
    """Makes the recurrent layers of a model, which is changed, run without cuDNN and oneDNN; returns their kinds."""
    layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    for layer in layers:
        layer.forward = functools.partial(_forward, layer)
    return list(dict.fromkeys(type(layer).__name__ for layer in layers))


def _forward(layer: nn.RNNBase, *arguments: Any, **named: Any) -> Any:
    with _WITHOUT_FUSED_KERNELS:
        return type(layer).forward(layer, *arguments, **named)


@contextlib.contextmanager
def _without_fused_kernels() -> Iterator[None]:
    cudnn, onednn = torch.backends.cudnn, torch.backends.mkldnn
    before = cudnn.enabled, onednn.enabled
    cudnn.enabled = onednn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        cudnn.enabled, onednn.enabled = before


_WITHOUT_FUSED_KERNELS = Shared(_without_fused_kernels)
