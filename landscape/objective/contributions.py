"""The contributions to the derivative in a weight, each passed on as it arrives instead of waiting for the others.

A weight that is used several times gets its derivative in several parts, and autograd keeps the sum of those that are
there until the last has arrived. In the graph of a gradient every matrix is used at least twice, in the forward and in
the backward pass, and the second backward pass meets the latter first: most of a vector of the dimension of the network
would wait beside the one that is being computed.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge

# Entries of the smallest parameter for which the calls from C++ to Python are worth it.
LARGE = 1 << 14
# Nodes that hand their argument on in another shape, and may be applied outside of a backward pass.
_VIEWS = frozenset({"TBackward0", "TransposeBackward0", "PermuteBackward0", "ViewBackward0"})


def steps(outputs: Sequence[Tensor | GradientEdge]) -> Iterator[Any]:
    """The nodes of the graph behind the outputs, once each."""
    pending: list[Any] = [out.node if isinstance(out, GradientEdge) else out.grad_fn for out in outputs]
    seen: set[object] = set()
    while pending:
        step = pending.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        yield step
        pending.extend(following for following, _ in step.next_functions)


@dataclass(frozen=True)
class Contribution:
    """One of several uses of a weight in a graph.

    Attributes:
        node: The node whose backward pass computes its part of the derivative.
        place: The number of that part among what the node computes.
        views: The nodes through which it gets to the weight.
        number: That of the weight.
    """

    node: Any
    place: int
    views: tuple[Any, ...]
    number: int


def contributions(
    outputs: Sequence[Tensor | GradientEdge], leaves: Mapping[int, Tensor], *, least: int = 2
) -> list[Contribution]:
    """Those to large leaves; none to leaves with hooks, which autograd has to call.

    Args:
        outputs: The ends of the graph.
        leaves: By number.
        least: The number of them from which on those to a leaf are of interest.
    """
    numbers = {
        id(leaf): number
        for number, leaf in leaves.items()
        if leaf.numel() >= LARGE and leaf.is_leaf and not leaf._backward_hooks
    }
    if not numbers:
        return []
    found: dict[int, list[Contribution]] = {}
    for node in steps(outputs):
        if node.name() in _VIEWS:  # what it hands on is intercepted where it comes from
            continue
        for place, (following, _) in enumerate(node.next_functions):
            views = []
            while following is not None and following.name() in _VIEWS:
                views.append(following)
                following = following.next_functions[0][0]
            number = numbers.get(id(getattr(following, "variable", None)))
            if number is not None:
                found.setdefault(number, []).append(Contribution(node, place, tuple(views), number))
    return [each for uses in found.values() if len(uses) >= least for each in uses]


@contextlib.contextmanager
def passed_on(uses: Sequence[Contribution], act: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Inside, backward passes give these contributions to ``act(number, contribution)``, and not to the leaves."""
    by_node: dict[Any, list[Contribution]] = {}
    for use in uses:
        by_node.setdefault(use.node, []).append(use)

    def hook_of(here: Sequence[Contribution]) -> Any:
        def hook(slopes: tuple[Tensor | None, ...], _: Any) -> tuple[Tensor | None, ...]:
            left = list(slopes)
            for use in here:
                slope, left[use.place] = left[use.place], None
                if slope is None:  # the leaf is none of those that are differentiated in
                    continue
                for view in use.views:
                    slope = view(slope)
                assert slope is not None
                act(use.number, slope)
            return tuple(left)

        return hook

    with contextlib.ExitStack() as stack:
        for node, here in by_node.items():
            stack.callback(node.register_hook(hook_of(here)).remove)
        yield
