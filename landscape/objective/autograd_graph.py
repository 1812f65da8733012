"""What autograd has recorded behind a tensor: its gradient, and the graph itself."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def slopes(value: Tensor, inputs: Sequence[Tensor], *, graph: bool = False) -> Sequence[Tensor]:
    """The gradient of a scalar in some tensors, zero where it does not depend on them; with a graph of its own."""
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    # Never by .backward(create_graph=True), which leaves a reference cycle in .grad.
    return torch.autograd.grad(value, inputs, create_graph=graph, allow_unused=True, materialize_grads=True)


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
