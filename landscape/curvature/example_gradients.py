"""Squared norms of per-example gradients, parameter by parameter, without ever holding the gradients.

Linear, convolution and batch-norm layers (with stored statistics) that run once in a forward pass: the norm follows
from the layer's input and the derivative at its output, so that one backward pass without weight gradients serves
every example at once. Any other network: ``vmap`` over examples, in slices that fit in memory.

Reference:
    Goodfellow, "Efficient per-example gradient computations", 2015, arXiv 1510.01799, for linear layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SLICE_BYTES = 1 << 28
"""Memory for the per-example gradients of one slice."""

_LINEAR = (nn.Linear,)
_CONVOLUTION = (nn.Conv1d, nn.Conv2d)
_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class _Visit:
    """What one layer saw and returned in a forward pass."""

    module: nn.Module
    inputs: Tensor
    outputs: Tensor


def layers_cover(model: nn.Module, free: Sequence[str], used_once: frozenset[str]) -> bool:
    """Whether every free parameter belongs to a layer whose gradients are known from its input and output.

    Args:
        model: The network.
        free: Names of the free parameters.
        used_once: Those that the forward pass reads exactly once.
    """
    known: set[int] = set()
    for module in model.modules():
        if _known(module):
            known |= {id(p) for p in module.parameters(recurse=False)}
    parameters = dict(model.named_parameters())
    return all(name in used_once and id(parameters[name]) in known for name in free)


def _known(module: nn.Module) -> bool:
    kinds = (*_LINEAR, *_CONVOLUTION, *_NORMALISATION)
    if type(module) not in kinds or module._forward_hooks or module._forward_pre_hooks:
        return False
    if isinstance(module, _CONVOLUTION):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if isinstance(module, _NORMALISATION):
        return not module.training and module.running_mean is not None
    return True


@contextmanager
def _recorded(model: nn.Module, wanted: set[int]) -> Iterator[list[_Visit]]:
    visits: list[_Visit] = []
    handles = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        visits.append(_Visit(module, inputs[0].detach(), outputs))
        return outputs.clone()  # what follows may write into it (nn.ReLU(inplace=True), +=)

    for module in model.modules():
        if any(id(p) in wanted for p in module.parameters(recurse=False)):
            handles.append(module.register_forward_hook(note))
    try:
        yield visits
    finally:
        for handle in handles:
            handle.remove()


def squared_norms_by_layer(
    model: nn.Module,
    free: Sequence[str],
    inputs: Tensor,
    cotangents: Callable[[Tensor], Iterator[Tensor]],
) -> Tensor:
    """``Σᵢ Σ_k ‖∂(s_{ik}ᵀ f(xᵢ))/∂θ_P‖²`` for every free parameter P, ``(parameters,)`` in float64.

    Args:
        model: A network for which :func:`layers_cover` holds.
        free: Names of the free parameters.
        inputs: A batch.
        cotangents: From the outputs ``(B, C)``, the vectors s_k ``(B, C)`` one after the other.
    """
    parameters = dict(model.named_parameters())
    place = {id(parameters[name]): k for k, name in enumerate(free)}
    totals = torch.zeros(len(free), dtype=torch.float64, device=inputs.device)
    with _recorded(model, set(place)) as visits:
        outputs = model(inputs)
    views = [_input_view(visit) for visit in visits]
    for vectors in cotangents(outputs.detach()):
        slopes = torch.autograd.grad(outputs, [visit.outputs for visit in visits], vectors, retain_graph=True)
        for visit, view, slope in zip(visits, views, slopes, strict=True):
            for parameter, norm in _layer_norms(visit.module, view, slope):
                if id(parameter) in place:
                    totals[place[id(parameter)]] += norm.double()
    return totals


def _input_view(visit: _Visit) -> Tensor:
    """What the layer's weight is multiplied with, as ``(B, features, positions)``."""
    module, x = visit.module, visit.inputs
    if isinstance(module, nn.Linear):
        return x.reshape(x.shape[0], -1, x.shape[-1]).mT
    if isinstance(module, nn.Conv1d):
        x = functional.unfold(
            x.unsqueeze(2),
            (1, module.kernel_size[0]),
            dilation=(1, module.dilation[0]),
            padding=(0, int(module.padding[0])),
            stride=(1, module.stride[0]),
        )
        return x.reshape(x.shape[0], module.groups, -1, x.shape[-1])
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)
        x = functional.unfold(
            x, module.kernel_size, dilation=module.dilation, padding=module.padding, stride=module.stride
        )
        return x.reshape(x.shape[0], module.groups, -1, x.shape[-1])
    assert isinstance(module, _NORMALISATION)
    assert module.running_mean is not None
    assert module.running_var is not None
    flat = x.reshape(x.shape[0], x.shape[1], -1)
    return (flat - module.running_mean[:, None]) * torch.rsqrt(module.running_var[:, None] + module.eps)


def _layer_norms(module: nn.Module, view: Tensor, slope: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """``(parameter, Σᵢ ‖gradient of example i‖²)`` for the parameters of one layer."""
    if isinstance(module, nn.Linear):
        out = slope.reshape(slope.shape[0], -1, slope.shape[-1]).mT
        yield module.weight, _outer_norm(out, view)
        if module.bias is not None:
            yield module.bias, out.sum(2).square().sum()
    elif isinstance(module, _CONVOLUTION):
        out = slope.reshape(slope.shape[0], module.groups, -1, view.shape[-1])
        yield module.weight, _outer_norm(out.flatten(0, 1), view.flatten(0, 1))
        if module.bias is not None:
            yield module.bias, out.sum(3).square().sum()
    elif isinstance(module, _NORMALISATION):
        out = slope.reshape(slope.shape[0], slope.shape[1], -1)
        if module.affine:
            yield module.weight, (out * view).sum(2).square().sum()
            yield module.bias, out.sum(2).square().sum()


def _outer_norm(out: Tensor, view: Tensor) -> Tensor:
    """``Σᵢ ‖outᵢ viewᵢᵀ‖²`` for ``(B, O, L)`` and ``(B, I, L)``, whichever way is cheaper."""
    _, rows, positions = out.shape
    columns = view.shape[1]
    if positions == 1:
        return torch.dot(out.square().sum((1, 2)), view.square().sum((1, 2)))
    if positions * positions * (rows + columns) < rows * columns * positions:
        return ((out.mT @ out) * (view.mT @ view)).sum()
    return (out @ view.mT).square().sum()


def squared_norms_by_vmap(
    model: nn.Module,
    free: Sequence[str],
    inputs: Tensor,
    cotangents: Callable[[Tensor], Iterator[Tensor]],
) -> Tensor:
    """The same as :func:`squared_norms_by_layer` for any network whose examples do not see each other."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    rest: Mapping[str, Tensor] = {
        **{name: p for name, p in parameters.items() if name not in set(free)},
        **dict(model.named_buffers()),
    }
    chosen = {name: parameters[name] for name in free}

    def projected(theta: dict[str, Tensor], x: Tensor, s: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, {**rest, **theta}, (x.unsqueeze(0),))
        value: Tensor = (outputs[0] * s).sum()
        return value

    gradients = torch.func.vmap(torch.func.grad(projected), in_dims=(None, 0, 0))
    with torch.no_grad():
        outputs = model(inputs)
    dimension = sum(p.numel() for p in chosen.values())
    width = max(1, SLICE_BYTES // (inputs.element_size() * dimension))
    totals = torch.zeros(len(free), dtype=torch.float64, device=inputs.device)
    for vectors in cotangents(outputs):
        for x, s in zip(torch.split(inputs, width), torch.split(vectors, width), strict=True):
            found = gradients(chosen, x, s)
            totals += torch.stack([found[name].square().sum().double() for name in free])
    return totals
