"""Calls that are computed again in every backward pass, so that little of them is kept, and are twice differentiable.

Torch's activation checkpointing saves nothing for a Hessian product: what is computed again while the graph of the
gradient is made becomes a part of that graph. Here the backward pass of a call is an operation of its own, which keeps
the call's arguments and the adjoints of its results, and computes the call again in its own backward pass. The graph
of a gradient then holds arguments and adjoints of each call, and the inside of one call at a time is in memory.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landscape.isolation.modes import on_autocast

_Context = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass
class _Call:
    """A function with its arguments but for their tensors, which can be called any number of times.

    Attributes:
        function: Any function of nested arguments.
        structure: Of the arguments and keyword arguments.
        leaves: Them, with ``None`` in the places of tensors.
        places: Where the tensors are.
        context: In which it is computed again: autograd turns modes off in backward passes, which on a GPU are run by
            another thread.
        autocast: Likewise, as it was at the call.
        shape: The structure of the results, and what is not a tensor among them, known after the first call.
    """

    function: Callable[..., Any]
    structure: pytree.TreeSpec
    leaves: list[Any]
    places: list[int]
    context: _Context
    autocast: _Context
    shape: tuple[pytree.TreeSpec, list[Any], list[int]] | None = None

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors of the results."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.structure)
        results, structure = pytree.tree_flatten(self.function(*args, **kwargs))
        places = [k for k, leaf in enumerate(results) if isinstance(leaf, Tensor)]
        if self.shape is None:
            others = [None if isinstance(leaf, Tensor) else leaf for leaf in results]
            self.shape = structure, others, places
        return [results[k] for k in places]

    def results(self, tensors: Sequence[Tensor]) -> Any:
        """The results with these tensors in their places."""
        assert self.shape is not None
        structure, leaves, places = self.shape
        leaves = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            leaves[place] = tensor
        return pytree.tree_unflatten(leaves, structure)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Inside, the call is computed with a graph that is not counted as one that stays."""
        with (
            torch.autograd.graph.saved_tensors_hooks(_same, _same),
            self.context(),  # whose hooks, if it has any, are the innermost
            self.autocast(),
            torch.enable_grad(),
        ):
            yield


def _same(tensor: Tensor) -> Tensor:
    return tensor


def recomputed(
    function: Callable[..., Any],
    weights: Sequence[Tensor],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    context: _Context,
) -> Any:
    """``function(*args, **kwargs)``, of which only arguments and, in a graph of a gradient, adjoints are kept.

    Args:
        function: Depends on its arguments and weights alone, and does not write to its arguments.
        weights: Every other tensor that it is differentiated in: leaves.
        args: Any nested structure that ``torch.utils._pytree`` knows, as every dataclass of Hugging Face.
        kwargs: Likewise.
        context: In which it is computed again.
    """
    leaves, structure = pytree.tree_flatten((args, kwargs))
    places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    tensors = [leaves[k] for k in places]
    others = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    call = _Call(function, structure, others, places, context, on_autocast())
    free = [weight for weight in weights if weight.requires_grad]
    return call.results(_Forward.apply(call, len(tensors), *tensors, *free))


class _Forward(torch.autograd.Function):
    """The call. ``tensors`` are its arguments, of which there are ``count``, and its weights."""

    @staticmethod
    def forward(ctx: Any, call: _Call, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        results = call(tensors[:count])
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(t for t in results if not t.is_floating_point()))
        ctx.call, ctx.count = call, count
        ctx.save_for_backward(*tensors)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Any, ...]:
        if all(adjoint is None for adjoint in adjoints):
            return (None,) * len(ctx.needs_input_grad)
        present = [k for k, adjoint in enumerate(adjoints) if adjoint is not None]
        needed = ctx.needs_input_grad[2:]
        slopes = _Backward.apply(
            ctx.call, ctx.count, needed, present, *ctx.saved_tensors, *(adjoints[k] for k in present)
        )
        return None, None, *slopes


class _Backward(torch.autograd.Function):
    """The products of adjoints with the Jacobian of the call, for every tensor that needs one."""

    @staticmethod
    def forward(
        ctx: Any, call: _Call, count: int, needed: Sequence[bool], present: Sequence[int], *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.call, ctx.count, ctx.needed, ctx.present = call, count, needed, present
        ctx.save_for_backward(*tensors)
        parts = _Parts(count, needed, present, tensors)
        with call.again():
            slopes = parts.slopes(call, parts.adjoints, create_graph=False)
        return tuple(slopes)

    @staticmethod
    def backward(ctx: Any, *vectors: Tensor | None) -> tuple[Any, ...]:
        parts = _Parts(ctx.count, ctx.needed, ctx.present, ctx.saved_tensors)
        with ctx.call.again():
            adjoints = [adjoint.detach().requires_grad_() for adjoint in parts.adjoints]
            slopes = parts.slopes(ctx.call, adjoints, create_graph=True)
            pairs = [
                (slope, vector)
                for slope, vector in zip(slopes, vectors, strict=True)
                if slope is not None and slope.requires_grad and vector is not None
            ]
            inputs = [*parts.free, *adjoints]
            images: Sequence[Tensor | None] = [None] * len(inputs)
            if pairs:
                outputs, weights = zip(*pairs, strict=True)
                images = torch.autograd.grad(outputs, inputs, weights, allow_unused=True)
        following = iter(images)
        every = [next(following) if is_needed else None for is_needed in ctx.needed]
        return None, None, None, None, *every, *following


class _Parts:
    """The saved tensors of a backward pass: leaves to differentiate in, and adjoints."""

    def __init__(
        self, count: int, needed: Sequence[bool], present: Sequence[int], tensors: Sequence[Tensor]
    ) -> None:
        saved, self.adjoints = tensors[: len(needed)], tensors[len(needed) :]
        self._needed, self._present = needed, present
        # Arguments become leaves; weights are leaves, which the call finds where it always does.
        self._arguments = [
            tensor.detach().requires_grad_(is_needed)
            for tensor, is_needed in zip(saved[:count], needed[:count], strict=True)
        ]
        every = [*self._arguments, *saved[count:]]
        self.free = [tensor for tensor, is_needed in zip(every, needed, strict=True) if is_needed]

    def slopes(self, call: _Call, adjoints: Sequence[Tensor], *, create_graph: bool) -> list[Tensor | None]:
        """The product of every tensor that needs one, and ``None`` in the places of others; computes the call."""
        results = call(self._arguments)
        pairs = [(results[k], adjoint) for k, adjoint in zip(self._present, adjoints, strict=True)]
        pairs = [(result, adjoint) for result, adjoint in pairs if result.requires_grad]
        slopes: Sequence[Tensor | None] = [None] * len(self.free)
        if pairs:
            outputs, weights = zip(*pairs, strict=True)
            slopes = torch.autograd.grad(
                outputs, self.free, weights, create_graph=create_graph, allow_unused=True
            )
        following = iter(slopes)
        return [next(following) if is_needed else None for is_needed in self._needed]
