"""Squared norms of per-example gradients, parameter by parameter, without ever holding the gradients.

Where every parameter is used once, by an operation that is linear in it, the norm follows from what it is
multiplied with and the derivative at the operation's result, so that one backward pass without weight gradients
serves every example at once. Any other network: ``vmap`` over examples, in slices that fit in memory.

Reference:
    Goodfellow, "Efficient per-example gradient computations", 2015, arXiv 1510.01799, for linear layers.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from landscape.curvature.linear_uses import Use
from landscape.curvature.recording import NotRecordedError, recorded
from landscape.functional import called_with

SLICE_BYTES = 1 << 28
"""Memory for the per-example gradients, or the derivatives at the operations' results, of one slice."""


def uses_cover(model: nn.Module, free: Sequence[str], used_once: frozenset[str], inputs: Tensor) -> bool:
    """Whether every free parameter is used once, by an operation that is linear in it and known.

    Args:
        model: The network.
        free: Names of the free parameters.
        used_once: Those that the forward pass reads exactly once.
        inputs: A batch.
    """
    if not used_once.issuperset(free):
        return False
    try:
        with torch.no_grad(), recorded(model, free, len(inputs)) as uses:
            model(inputs)
    except NotRecordedError:
        return False
    parameters = dict(model.named_parameters())
    return sorted(id(use.parameter) for use in uses) == sorted(id(parameters[name]) for name in free)


def places_of(uses: Sequence[Use]) -> list[Tensor]:
    """The results of the recorded operations, each once."""
    return list({id(use.place): use.place for use in uses}.values())


def squared_norms_by_use(
    model: nn.Module, free: Sequence[str], inputs: Tensor, cotangents: Callable[[Tensor], Tensor]
) -> Tensor:
    """``Σᵢ Σ_k ‖∂(s_{ik}ᵀ f(xᵢ))/∂θ_P‖²`` for every free parameter P, ``(parameters,)`` in float64.

    Args:
        model: A network for which :func:`uses_cover` holds.
        free: Names of the free parameters.
        inputs: A batch, taken in slices that fit in memory.
        cotangents: From the outputs ``(B, C)``, all vectors s_k, ``(K, B, C)``.
    """
    parameters = dict(model.named_parameters())
    place = {id(parameters[name]): k for k, name in enumerate(free)}
    width = _slice_width(model, free, inputs, cotangents)
    totals = torch.zeros(len(free), dtype=torch.float64, device=inputs.device)
    for x in torch.split(inputs, width):
        with recorded(model, free, len(x)) as uses:
            outputs = model(x)
        vectors = cotangents(outputs.detach())
        if not len(vectors):  # a single class: the loss does not bend
            continue
        places = places_of(uses)
        slopes = [
            torch.autograd.grad(
                outputs, places, one, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for one in vectors
        ]
        arrived = {id(place): of for place, *of in zip(places, *slopes, strict=True)}
        for use in uses:
            totals[place[id(use.parameter)]] += use.map.squared_norm(arrived[id(use.place)]).double()
    return totals


def _slice_width(
    model: nn.Module, free: Sequence[str], inputs: Tensor, cotangents: Callable[[Tensor], Tensor]
) -> int:
    """Examples a slice, from what one of them takes."""
    with torch.no_grad(), recorded(model, free, 1) as uses:
        count = len(cotangents(model(inputs[:1])))
    each = count * sum(place.numel() for place in places_of(uses)) * inputs.element_size()
    return max(1, SLICE_BYTES // max(1, each))


def squared_norms_by_vmap(
    model: nn.Module,
    free: Sequence[str],
    inputs: Tensor,
    cotangents: Callable[[Tensor], Tensor],
) -> Tensor:
    """The same as :func:`squared_norms_by_use` for any network whose examples do not see each other."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    rest: Mapping[str, Tensor] = {
        **{name: p for name, p in parameters.items() if name not in set(free)},
        **dict(model.named_buffers()),
    }
    chosen = {name: parameters[name] for name in free}

    def projected(theta: dict[str, Tensor], x: Tensor, s: Tensor) -> Tensor:
        outputs = called_with(model, {**rest, **theta}, x.unsqueeze(0))
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
