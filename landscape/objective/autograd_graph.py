"""What autograd has recorded behind a tensor: its gradient, and the graph itself."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from landscape.objective.replica import Replica
from landscape.parameters import Layout

Output = Tensor | GradientEdge
"""What a backward pass may start from: a tensor, or its place in the graph alone."""


def slopes(value: Tensor, inputs: Sequence[Tensor], *, graph: bool = False) -> Sequence[Tensor]:
    """The gradient of a scalar in some tensors, zero where it does not depend on them; with a graph of its own."""
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    # Never by .backward(create_graph=True), which leaves a reference cycle in .grad.
    return torch.autograd.grad(value, inputs, create_graph=graph, allow_unused=True, materialize_grads=True)


def flat_slopes(
    outputs: Sequence[Output],
    vectors: Sequence[Tensor] | None,
    inputs: Mapping[int, Tensor],
    layout: Layout,
    *,
    like: Tensor,
    retain: bool = False,
) -> Tensor:
    """The gradient of ``Σ outputs · vectors`` as one vector ``(n,)``, zero outside the inputs.

    The backward pass adds the part of every parameter to its place in the vector as soon as it is there, so that no
    more than one of them is there twice.

    Args:
        outputs: What to differentiate.
        vectors: Tensors that are shaped like the outputs; ``None`` for scalars, times 1.
        inputs: Parameters by their number in the layout; leaves of the graph.
        layout: The places of the parameters.
        like: A vector of the same form.
        retain: Whether the graph will be used again.
    """
    slope = torch.zeros_like(like)
    places, starts = layout.split(slope), cast(Any, outputs)
    for number, parameter in inputs.items():
        parameter.grad = places[number]
    try:
        # Outside of create_graph, autograd adds in place to what .grad holds.
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


def place_of(tensor: Tensor) -> Output:
    """The place of a tensor in the graph, which does not keep its values; a leaf itself."""
    return tensor if tensor.is_leaf else get_gradient_edge(tensor)


def custom_functions(outputs: Sequence[Tensor]) -> Iterator[Any]:
    """The node of every user-defined ``autograd.Function`` in the graph behind the outputs, once each."""
    return (step for step in _steps(outputs) if isinstance(step, torch.autograd.function.BackwardCFunction))


def leaves(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Every tensor that requires a gradient and that the outputs were computed from, once each."""
    for step in _steps(outputs):
        if hasattr(step, "variable"):  # of torch's AccumulateGrad alone
            yield step.variable


def _steps(outputs: Sequence[Tensor]) -> Iterator[Any]:
    """The nodes of the graph behind the outputs, once each."""
    pending: list[Any] = [output.grad_fn for output in outputs]
    seen: set[object] = set()
    while pending:
        step = pending.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        yield step
        pending.extend(following for following, _ in step.next_functions)


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
