"""What autograd has recorded behind a tensor."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


def custom_functions(outputs: Sequence[Tensor]) -> Iterator[Any]:
    """Every ``autograd.Function`` of somebody's own in the graph behind the outputs, as its node, once each."""
    pending: list[Any] = [output.grad_fn for output in outputs]
    seen: set[object] = set()
    while pending:
        step = pending.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if isinstance(step, torch.autograd.function.BackwardCFunction):
            yield step
        pending.extend(following for following, _ in step.next_functions)
