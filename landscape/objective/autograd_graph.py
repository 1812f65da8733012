"""What autograd has recorded behind a tensor: its gradient, and the graph itself."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from landscape.objective.contributions import Contribution, contributions, passed_on, steps
from landscape.objective.replica import Replica
from landscape.parameters import Layout

Output = Tensor | GradientEdge
"""What a backward pass may start from: a tensor, or its place in the graph alone."""


def flat_slopes(
    outputs: Sequence[Output],
    vectors: Sequence[Tensor] | None,
    inputs: Mapping[int, Tensor],
    layout: Layout,
    *,
    like: Tensor,
    retain: bool = False,
    uses: Sequence[Contribution] | None = None,
) -> Tensor:
    """The gradient of ``Σ outputs · vectors`` as one vector ``(n,)``, zero outside the inputs.

    The backward pass adds every contribution to its place in the vector as soon as it is there, so that no more than
    one of them is there twice.

    Args:
        outputs: What to differentiate.
        vectors: Tensors that are shaped like the outputs; ``None`` for scalars, times 1.
        inputs: Parameters by their number in the layout; leaves of the graph.
        layout: The places of the parameters.
        like: A vector of the same form.
        retain: Whether the graph will be used again.
        uses: The contributions to inputs that are used several times, where they are known.
    """
    slope = torch.zeros_like(like)
    places, starts = layout.split(slope), cast(Any, outputs)
    uses = contributions(outputs, inputs) if uses is None else uses

    def add(number: int, contribution: Tensor) -> None:
        places[number].add_(contribution)

    for number, parameter in inputs.items():
        parameter.grad = places[number]
    try:
        # Outside of create_graph, autograd adds in place to what .grad holds.
        with passed_on(uses, add):
            torch.autograd.backward(starts, vectors, inputs=list(inputs.values()), retain_graph=retain)
    finally:
        for parameter in inputs.values():
            parameter.grad = None
    return slope


def gradient_of(replica: Replica, value: Tensor) -> Tensor:
    """The gradient ``(n,)`` of a scalar in the free parameters, zero where it does not depend on them."""
    if not value.requires_grad:
        return torch.zeros_like(replica.point)
    return flat_slopes([value], None, dict(enumerate(replica.parameters)), replica.layout, like=replica.point)


def gradient_places(
    value: Tensor,
    leaves: Sequence[Tensor],
    *,
    cotangent: Tensor | None = None,
    each: Callable[[int, Tensor], object] = lambda number, part: None,
) -> list[tuple[int, Output]]:
    """The places of a gradient in its graph, each with the number of its leaf, as far as it depends on anything.

    Second derivatives do not need its values, which are as large as all leaves: those of a large leaf are dropped as
    soon as they are there. A leaf that is used several times may have several places, whose sum is its gradient.

    Args:
        value: What to differentiate.
        leaves: Tensors that it was computed from.
        cotangent: A factor shaped like ``value``; ``None`` for a scalar, times 1.
        each: Called with every part of the gradient and the number of its leaf; must not change it.
    """
    places = list[tuple[int, Output]]()

    def note(number: int, part: Tensor) -> None:
        each(number, part.detach())
        if part.requires_grad:
            places.append((number, part if part.is_leaf else get_gradient_edge(part)))

    if not value.requires_grad:
        return places
    uses = contributions([value], dict(enumerate(leaves)), least=1)
    with passed_on(uses, note):
        # Never by .backward(create_graph=True), which leaves a reference cycle in .grad.
        slopes = torch.autograd.grad(value, leaves, cotangent, create_graph=True, allow_unused=True)
    for number, slope in enumerate(slopes):
        if slope is not None:
            note(number, slope)
    return places


def custom_functions(outputs: Sequence[Tensor]) -> Iterator[Any]:
    """The node of every user-defined ``autograd.Function`` in the graph behind the outputs, once each."""
    return (step for step in steps(outputs) if isinstance(step, torch.autograd.function.BackwardCFunction))


def leaves(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Every tensor that requires a gradient and that the outputs were computed from, once each."""
    for step in steps(outputs):
        if hasattr(step, "variable"):  # of torch's AccumulateGrad alone
            yield step.variable


class _SavedTensorNeeded(RuntimeError):
    """A loss takes a derivative of its own, for which it needs a tensor that was not saved."""


@contextlib.contextmanager
def structure_only() -> Iterator[None]:
    """Autograd records which tensor follows from which, but saves none, so that the graph takes no memory.

    Raises:
        RuntimeError: Something inside takes a derivative itself, or forbids this; see :func:`forbids_structure_only`.
    """

    def unpack(nothing: None) -> Tensor:
        raise _SavedTensorNeeded

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, unpack),
    ):
        yield


def forbids_structure_only(failure: BaseException) -> bool:
    """Whether :func:`structure_only` is the reason of a failure; torch.func forbids such hooks inside itself."""
    return isinstance(failure, _SavedTensorNeeded) or "saved tensor hooks" in str(failure)
