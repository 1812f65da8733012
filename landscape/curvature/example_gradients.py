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

from landscape.curvature.layer_norms import CONVOLUTION, LINEAR, NORMALISATION, layer_norms

SLICE_BYTES = 1 << 28
"""Memory for the per-example gradients, or the derivatives at the layers' outputs, of one slice."""


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
    kinds = (*LINEAR, *CONVOLUTION, *NORMALISATION)
    if type(module) not in kinds or module._forward_hooks or module._forward_pre_hooks:
        return False
    if isinstance(module, CONVOLUTION):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if isinstance(module, NORMALISATION):
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
    model: nn.Module, free: Sequence[str], inputs: Tensor, cotangents: Callable[[Tensor], Tensor]
) -> Tensor:
    """``Σᵢ Σ_k ‖∂(s_{ik}ᵀ f(xᵢ))/∂θ_P‖²`` for every free parameter P, ``(parameters,)`` in float64.

    Args:
        model: A network for which :func:`layers_cover` holds.
        free: Names of the free parameters.
        inputs: A batch, taken in slices that fit in memory.
        cotangents: From the outputs ``(B, C)``, all vectors s_k, ``(K, B, C)``.
    """
    parameters = dict(model.named_parameters())
    place = {id(parameters[name]): k for k, name in enumerate(free)}
    width = _slice_width(model, set(place), inputs, cotangents)
    totals = torch.zeros(len(free), dtype=torch.float64, device=inputs.device)
    for x in torch.split(inputs, width):
        with _recorded(model, set(place)) as visits:
            outputs = model(x)
        places = [visit.outputs for visit in visits]
        slopes = [
            torch.autograd.grad(outputs, places, one, retain_graph=True)
            for one in cotangents(outputs.detach())
        ]
        for visit, *of_layer in zip(visits, *slopes, strict=True):
            for parameter, norm in layer_norms(visit.module, visit.inputs, of_layer):
                if id(parameter) in place:
                    totals[place[id(parameter)]] += norm.double()
    return totals


def _slice_width(
    model: nn.Module, wanted: set[int], inputs: Tensor, cotangents: Callable[[Tensor], Tensor]
) -> int:
    """Examples a slice, from what one of them takes."""
    with torch.no_grad(), _recorded(model, wanted) as visits:
        count = len(cotangents(model(inputs[:1])))
    each = count * sum(visit.outputs.numel() for visit in visits) * inputs.element_size()
    return max(1, SLICE_BYTES // max(1, each))


def squared_norms_by_vmap(
    model: nn.Module,
    free: Sequence[str],
    inputs: Tensor,
    cotangents: Callable[[Tensor], Tensor],
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
