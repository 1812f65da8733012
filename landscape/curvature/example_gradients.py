"""Squared norms of per-example gradients, parameter by parameter, without storing the gradients.

If every parameter is used once, by an operation that is linear in it, the norm follows from the other factor and the
derivative at the operation's result, so that one backward pass without weight gradients serves every example at once.
Any other network: ``vmap`` over examples, in slices that fit in memory.

Reference:
    Goodfellow, "Efficient per-example gradient computations", 2015, arXiv 1510.01799, for linear layers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.curvature.linear_uses import Use
from landscape.curvature.recording import NotRecordedError, recorded
from landscape.losses.outputs import applied, applied_with
from landscape.objective.batch import mapped, rows_in, rows_of
from landscape.reductions import exact, exact_dtype

# Memory for the per-example gradients, or the derivatives at the operations' results, of one slice.
SLICE_BYTES = 1 << 28

Cotangents = Callable[[Tensor, slice], Tensor]
"""From the outputs ``(B, C)`` of a slice of a batch's examples to all vectors s_k, ``(K, B, C)``."""

SquaredNorms = Callable[[nn.Module, Sequence[str], Any, Cotangents], Tensor]
"""``Σᵢ Σ_k ‖∂(s_{ik}ᵀ f(xᵢ))/∂θ_P‖²`` for every named parameter P of a network on a batch, in float64."""


def uses_cover(model: nn.Module, free: Sequence[str], used_once: frozenset[str], inputs: Any) -> bool:
    """Whether every free parameter is used once, by a known operation that is linear in it."""
    if not used_once.issuperset(free):
        return False
    try:
        with torch.no_grad(), recorded(model, free, rows_in(inputs) or 0) as uses:
            applied(model, inputs)
    except NotRecordedError:
        return False
    parameters = dict(model.named_parameters())
    return sorted(id(use.parameter) for use in uses) == sorted(id(parameters[name]) for name in free)


def places_of(uses: Sequence[Use]) -> list[Tensor]:
    """The results of the recorded operations, each once."""
    return list({id(use.place): use.place for use in uses}.values())


def squared_norms_by_use(
    model: nn.Module, free: Sequence[str], inputs: Any, cotangents: Cotangents
) -> Tensor:
    """The :data:`SquaredNorms` of a network for which :func:`uses_cover` holds."""
    parameters = dict(model.named_parameters())
    number = {id(parameters[name]): k for k, name in enumerate(free)}
    width = _slice_width(model, free, inputs, cotangents)
    place = next(iter(parameters.values())).device
    totals = torch.zeros(len(free), dtype=exact_dtype(place), device=place)
    for rows in _slices(inputs, width):
        with recorded(model, free, rows.stop - rows.start) as uses:
            outputs = applied(model, rows_of(inputs, rows))
        vectors = cotangents(outputs.detach(), rows)
        if not len(vectors):  # the loss of a single class has no curvature
            continue
        places = places_of(uses)
        options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
        slopes = [torch.autograd.grad(outputs, places, vector, **options) for vector in vectors]
        arrived = {id(place): of for place, *of in zip(places, *slopes, strict=True)}
        for use in uses:
            totals[number[id(use.parameter)]] += exact(use.map.squared_norm(arrived[id(use.place)]))
    return totals


def _slices(inputs: Any, width: int) -> Iterator[slice]:
    """The examples of a batch, ``width`` at a time."""
    count = rows_in(inputs) or 0
    return (slice(start, min(start + width, count)) for start in range(0, count, width))


def _slice_width(model: nn.Module, free: Sequence[str], inputs: Any, cotangents: Cotangents) -> int:
    """The number of examples in a slice, from the memory of one example."""
    first = slice(0, 1)
    with torch.no_grad(), recorded(model, free, 1) as uses:
        outputs = applied(model, rows_of(inputs, first))
    count = len(cotangents(outputs, first))
    each: int = count * sum(place.numel() for place in places_of(uses)) * outputs.element_size()
    return max(1, SLICE_BYTES // max(1, each))


def squared_norms_by_vmap(
    model: nn.Module, free: Sequence[str], inputs: Any, cotangents: Cotangents
) -> Tensor:
    """The :data:`SquaredNorms` of any network whose examples do not see each other."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    fixed = {name: p for name, p in parameters.items() if name not in set(free)} | dict(model.named_buffers())
    moving = {name: parameters[name] for name in free}

    def projected(theta: dict[str, Tensor], x: Any, s: Tensor) -> Tensor:
        outputs = applied_with(model, {**fixed, **theta}, mapped(x, lambda tensor: tensor.unsqueeze(0)))
        value: Tensor = (outputs[0] * s).sum()
        return value

    gradients = torch.func.vmap(torch.func.grad(projected), in_dims=(None, 0, 0))
    with torch.no_grad():
        outputs = applied(model, inputs)
    dimension = sum(p.numel() for p in moving.values())
    slices = list(_slices(inputs, max(1, SLICE_BYTES // (outputs.element_size() * dimension))))
    totals = torch.zeros(len(free), dtype=exact_dtype(outputs.device), device=outputs.device)
    for vectors in cotangents(outputs, slice(0, len(outputs))):
        for rows in slices:
            parts = gradients(moving, rows_of(inputs, rows), vectors[rows])
            totals += exact(torch.stack([parts[name].square().sum() for name in free]))
    return totals
