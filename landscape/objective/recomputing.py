"""Whether blocks can be computed again in backward passes and whether that is of use, found out before it is done."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.errors import is_out_of_memory
from landscape.objective.batch import Batch, first_examples
from landscape.objective.independence import tolerance
from landscape.objective.memory import saved_for_backward
from landscape.objective.recomputed_blocks import Recomputation
from landscape.objective.risk import Risk
from landscape.reductions import norm, numbers

EXAMPLES = 2  # on which it is compared with the network as it is
LEAST_GAIN = 0.8  # of the memory of the network as it is: with more, nothing is computed again


@contextlib.contextmanager
def recomputing(risk: Risk, batch: Batch) -> Iterator[None]:
    """Inside, blocks of the network are recomputed in backward passes if the objective says so and it is of use."""
    switch = risk.engine.recomputation
    if switch is None:
        yield
        return
    switch.attention = risk.checks.attention
    if switch.obstacle is None:
        switch.obstacle = ""
        reasons = risk.replica.shards.group.gathered(_obstacle(risk, batch, switch))
        switch.obstacle = next(filter(None, reasons), "")
    with switch.on() if not switch.obstacle else contextlib.nullcontext():
        yield


def _obstacle(risk: Risk, batch: Batch, switch: Recomputation) -> str:
    """Why nothing is computed again, from a gradient and a product on a few examples; empty if blocks are."""
    few = first_examples(batch, EXAMPLES)
    try:
        with switch.watching():
            plain, plain_bytes = _fingerprint(risk, few)
    except Exception as failure:  # whatever a network raises on a few examples
        if is_out_of_memory(failure):
            raise
        few = batch
        with switch.watching():
            plain, plain_bytes = _fingerprint(risk, few)
    if not any(block.calls and block.is_suited for block in switch.blocks.values()):
        return "its blocks write to their inputs, or are not called as modules"
    try:
        with switch.on():
            again, again_bytes = _fingerprint(risk, few)
    except Exception as failure:
        if is_out_of_memory(failure):
            raise
        words = (str(failure).strip().splitlines() or [""])[0][:100]
        return f"its blocks cannot be computed again ({type(failure).__name__}: {words})"
    if _differ(plain, again, tolerance(risk.replica.dtype)):
        return "its blocks depend on more than their arguments and weights"
    switch.share = again_bytes / max(1, plain_bytes)
    if switch.share > LEAST_GAIN:
        return f"the graph of a gradient would still take {100 * switch.share:.0f} % of its memory"
    return ""


def _fingerprint(risk: Risk, batch: Batch) -> tuple[list[tuple[float, float]], int]:
    """Norm and sum of every tensor of a gradient and a product, and the bytes that the graph of the gradient keeps."""
    parameters, marks = risk.replica.parameters, list[Tensor]()
    with saved_for_backward(besides=parameters[0], kept=risk.replica.shards.gathering) as saved:
        loss = risk.forward(batch)[0]
        if not loss.requires_grad:
            return [], 1
        slopes = torch.autograd.grad(
            loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
    marks += _marks(slopes)
    curved = [k for k, slope in enumerate(slopes) if slope.requires_grad]
    if curved:
        vector = Draws(0).normals(range(1), risk.replica.layout.dimension, like=parameters[0])[0]
        parts = risk.replica.layout.split(vector)
        try:
            images = torch.autograd.grad(
                [slopes[k] for k in curved],
                parameters,
                [parts[k] for k in curved],
                allow_unused=True,
                materialize_grads=True,
            )
            marks += _marks(images)
        except RuntimeError as failure:  # there is no second derivative, and perhaps none is asked for
            if is_out_of_memory(failure):
                raise
    values = numbers(*marks)
    return list(zip(values[::2], values[1::2], strict=True)), saved.bytes


def _marks(tensors: Any) -> list[Tensor]:
    return [mark for t in tensors for mark in (norm(t.detach()), t.detach().sum(dtype=norm(t[:0]).dtype))]


def _differ(plain: list[tuple[float, float]], again: list[tuple[float, float]], allowed: float) -> bool:
    """Whether gradients or products differ by more than rounding."""
    scale = max((abs(x) for pair in plain for x in pair), default=0.0)
    return len(plain) != len(again) or any(
        abs(a - b) > allowed * scale
        for one, other in zip(plain, again, strict=True)
        for a, b in zip(one, other, strict=True)
    )
