"""Per-example gradient norms of one layer from its input and the derivatives at its output.

The gradient of example i with respect to a weight is ``outᵢ viewᵢᵀ``: what arrives at the layer's output times what the
weight is multiplied with. Several derivatives at once (one a class) share the view and make one larger product.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LINEAR = (nn.Linear,)
CONVOLUTION = (nn.Conv1d, nn.Conv2d)
NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def layer_norms(
    module: nn.Module, inputs: Tensor, slopes: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """``(parameter, Σ_k Σᵢ ‖gradient of example i‖²)`` for the parameters of one layer.

    Args:
        module: Of a kind above.
        inputs: What it was given, ``(B, …)``.
        slopes: K derivatives at its output, each ``(B, …)``.
    """
    if isinstance(module, LINEAR):
        yield from _linear(module, inputs, slopes)
    elif isinstance(module, CONVOLUTION):
        yield from _convolution(module, inputs, slopes)
    elif isinstance(module, NORMALISATION) and module.affine:
        yield from _normalisation(module, inputs, slopes)


def _linear(module: nn.Linear, inputs: Tensor, slopes: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    if inputs.ndim == 2:
        energy = sum((_energies(slope) for slope in slopes), torch.zeros((), device=inputs.device))
        yield module.weight, torch.dot(energy, _energies(inputs))
        if module.bias is not None:
            yield module.bias, energy.sum()
        return
    view = inputs.flatten(1, -2).mT
    out = torch.cat([slope.flatten(1, -2).mT for slope in slopes], dim=1)
    yield module.weight, _outer_norm(out, view)
    if module.bias is not None:
        yield module.bias, _norm(out.sum(2))


def _convolution(
    module: nn.Module, inputs: Tensor, slopes: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    view = _patches(module, inputs)
    groups, positions = view.shape[1], view.shape[3]
    out = torch.cat([slope.reshape(slope.shape[0], groups, -1, positions) for slope in slopes], dim=2)
    assert isinstance(module.weight, Tensor)
    yield module.weight, _outer_norm(out.flatten(0, 1), view.flatten(0, 1))
    if isinstance(module.bias, Tensor):
        yield module.bias, _norm(out.sum(3))


def _patches(module: nn.Module, x: Tensor) -> Tensor:
    """What the weight of a convolution is multiplied with, ``(B, groups, features, positions)``."""
    assert isinstance(module, CONVOLUTION)
    assert not isinstance(module.padding, str)
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    padding = tuple(int(width) for width in module.padding)
    if isinstance(module, nn.Conv1d):
        x = x.unsqueeze(2)
        kernel, stride, dilation, padding = (1, *kernel), (1, *stride), (1, *dilation), (0, *padding)
    view = functional.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride)
    return view.reshape(x.shape[0], module.groups, -1, view.shape[-1])


def _normalisation(
    module: nn.Module, inputs: Tensor, slopes: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    assert isinstance(module, NORMALISATION)
    assert module.running_mean is not None
    assert module.running_var is not None
    flat = inputs.reshape(inputs.shape[0], inputs.shape[1], -1)
    view = (flat - module.running_mean[:, None]) * torch.rsqrt(module.running_var[:, None] + module.eps)
    scale = shift = torch.zeros((), device=inputs.device)
    for slope in slopes:
        out = slope.reshape(view.shape)
        scale = scale + _norm((out * view).sum(2))
        shift = shift + _norm(out.sum(2))
    yield module.weight, scale
    yield module.bias, shift


def _outer_norm(out: Tensor, view: Tensor) -> Tensor:
    """``Σᵢ ‖outᵢ viewᵢᵀ‖²`` for ``(B, O, L)`` and ``(B, I, L)``, whichever way is cheaper."""
    _, rows, positions = out.shape
    columns = view.shape[1]
    if positions * positions * (rows + columns) < rows * columns * positions:
        return torch.dot((out.mT @ out).flatten(), (view.mT @ view).flatten())
    return _norm(out @ view.mT)


def _norm(values: Tensor) -> Tensor:
    """‖values‖²."""
    norm: Tensor = torch.linalg.vector_norm(values)
    return norm.square()


def _energies(rows: Tensor) -> Tensor:
    """The squared norm of every row of ``(B, n)``, in one pass."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()
