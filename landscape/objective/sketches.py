"""Gradients that are looked at one tensor after the other, so that no second one is ever there as a whole."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.objective.autograd_graph import Output
from landscape.objective.contributions import Contribution, contributions, passed_on
from landscape.reductions import exact_dtype

BUCKETS = 1021  # a prime, so that neither a row nor a column of a matrix falls into one of them
_AT_ONCE = 64 * BUCKETS
_AT_ONCE_ON_DEVICE = 1 << 14  # times as many

Tensors = Sequence[Tensor]


def passed_back(
    outputs: Sequence[tuple[int, Output]],
    leaves: Tensors,
    act: Callable[[int, Tensor], None],
    *,
    vectors: Callable[[int], Tensor] | None = None,
    retain: bool = False,
    uses: Sequence[Contribution] | None = None,
) -> None:
    """Calls ``act(number, slope)`` with parts of the gradient of ``Σ outputs · vectors`` as they come, and drops them.

    The gradient in a leaf is the sum of what ``act`` is called with for its number, most often once.

    Args:
        outputs: What to differentiate: scalars, or tensors shaped like the leaves of the numbers before them.
        leaves: The leaves of the graph.
        act: Must not change what it is called with.
        vectors: Makes the vector of that number, when the backward pass gets there; 1 for scalars.
        retain: Whether the graph will be used again.
        uses: The contributions to leaves that are used several times, where they are known.
    """
    if not outputs:
        return
    numbers = {id(leaf): number for number, leaf in enumerate(leaves)}
    if uses is None:
        uses = contributions([place for _, place in outputs], dict(enumerate(leaves)))

    def take(leaf: Tensor) -> None:
        slope, leaf.grad = leaf.grad, None
        if slope is not None:  # and all of it was not passed on before
            act(numbers[id(leaf)], slope)

    with contextlib.ExitStack() as stack:
        for leaf in leaves:
            hook = leaf.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call]
            stack.callback(hook.remove)
        starts = None
        if vectors is not None:
            starts = [_start(place, leaves[k], partial(vectors, k), stack) for k, place in outputs]
        stack.enter_context(passed_on(uses, act))
        ends: Any = [place for _, place in outputs]
        torch.autograd.backward(ends, starts, inputs=list(leaves), retain_graph=retain)


def _start(output: Output, like: Tensor, vector: Callable[[], Tensor], stack: contextlib.ExitStack) -> Tensor:
    """What the backward pass starts with: zeros without memory, to which the vector is added at its node."""
    if isinstance(output, Tensor):
        return vector()

    def add(arriving: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        place, drawn = output.output_nr, vector()
        there = arriving[place]
        return (*arriving[:place], drawn if there is None else drawn.add_(there), *arriving[place + 1 :])

    stack.callback(output.node.register_prehook(add).remove)
    return like.new_zeros(()).expand(like.shape)


def empty_sketch(tensor: Tensor) -> Tensor:
    """That of zeros."""
    return torch.zeros(min(tensor.numel(), BUCKETS), dtype=exact_dtype(tensor.device), device=tensor.device)


def sketch(tensor: Tensor, number: int) -> Tensor:
    """A linear map to at most :data:`BUCKETS` numbers, whose norm is that of the tensor within a few per cent.

    Every entry has a random sign, the same for all tensors of that number, and those of every bucket are added: the
    mean of the squared norm is exact. Small tensors are copied.

    Reference:
        Charikar, Chen and Farach-Colton 2002, Finding frequent items in data streams (the count sketch).
    """
    total = empty_sketch(tensor)
    if tensor.numel() <= BUCKETS:
        return total.copy_(tensor.detach().flatten())
    draws = Draws(0).fold(number)
    for first, part in pieces(tensor):
        signed = draws.signs(1, len(part), first=first, like=total)[0].mul_(part)
        whole = len(part) // BUCKETS * BUCKETS
        folded = signed[:whole].view(-1, BUCKETS).sum(0)
        folded[: len(part) - whole] += signed[whole:]
        total += folded.roll(first % BUCKETS)  # an entry's bucket does not depend on the pieces
    return total


def pieces(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The entries as short vectors, each with the number of its first one; copies at most a few rows at once."""
    tensor = tensor.detach()
    if tensor.is_contiguous():
        tensor = tensor.view(-1)
    block = _AT_ONCE if tensor.device.type == "cpu" else BUCKETS * _AT_ONCE_ON_DEVICE
    first = 0
    size = max(1, block * len(tensor) // max(1, tensor.numel()))
    for rows in torch.split(tensor, size):
        yield first, rows.flatten()
        first += rows.numel()


def sketched_slopes(value: Tensor, leaves: Tensors) -> list[Tensor]:
    """The sketches of the gradient of a scalar."""
    result = [empty_sketch(leaf) for leaf in leaves]

    def act(number: int, slope: Tensor) -> None:
        result[number] += sketch(slope, number)

    passed_back([(0, value)] if value.requires_grad else [], leaves, act)
    return result
