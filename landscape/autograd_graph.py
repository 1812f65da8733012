"""What autograd has recorded behind a tensor."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def custom_functions(outputs: Sequence[Tensor]) -> Iterator[Any]:
    """Every ``autograd.Function`` of somebody's own in the graph behind the outputs, as its node, once each."""
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
