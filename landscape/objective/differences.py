"""Compares the second derivative with differences of the gradient, once, on a few examples in float64.

Some operations of torch have a wrong second derivative, and some networks a gradient that is not the derivative of
their loss (a straight-through estimator, a hook that reverses gradients). Nothing raises there: the Hessian product is
merely another number. Two properties tell: a Hessian is symmetric, and its product with v is the derivative of the
gradient along v.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError, Remark, is_out_of_memory
from landscape.losses.outputs import acting_with
from landscape.objective.autograd_graph import Output, gradient_places
from landscape.objective.batch import Batch, first_examples, mapped, moved, tensors_in
from landscape.objective.contributions import contributions
from landscape.objective.differentiability import innermost
from landscape.objective.directions import Directions
from landscape.objective.graphs import HessianGraph, LossOf
from landscape.objective.kernels import HeldPadding
from landscape.objective.risk import Risk
from landscape.objective.sketches import empty_sketch, passed_back, pieces, sketch, sketched_slopes
from landscape.reductions import exact, exact_dtype, norm, numbers

EXAMPLES = 2  # convolutions in float64 are slow
# Of two differences, relative to the weights: so small that hardly a ReLU changes its side.
STEPS = (1e-8, -5e-9)
ASYMMETRY = 1e-3  # what v·Hw and w·Hv may differ by, relative to their typical size
# What a product may differ from a difference of gradients by, beyond the error of the latter.
DIFFERENCE = 1e-3
ROUNDING = 1e-14  # of a gradient in float64, relative to it: its terms may be larger than their sum
SATURATED = 1e-3  # a loss that is smaller may be that of a perfect fit
HALVINGS = 8  # how often the weights of a perfect fit are halved at the most
DIRECTIONS = 3  # tried until one meets no kink
# Bytes of weights in float64. Of a larger network one example is looked at, for the time that it takes, and the
# rounding of the gradient is not estimated.
LARGEST = 1 << 26
UNCHECKED = (
    "there is no memory to compare the second derivative with differences of the gradient in float64: only its "
    "symmetry is checked, which does not see every straight-through estimator"
)

Tensors = Sequence[Tensor]
Value = Callable[[Tensors], Tensor]
Standing = Callable[[Tensors, Callable[[], Any]], Any]
"""Calls a function while a network has some tensors for its weights."""
Function = tuple[Value, Standing]
"""What is differentiated, and what surrounds evaluations and backward passes if its arguments are the weights."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a second derivative, and how much, relative to its size."""

    symmetry: bool  # w·Hv and v·Hw differ; otherwise a product and the difference of gradients do
    size: float

    def __str__(self) -> str:
        if self.symmetry:
            return f"v·Hw and w·Hv differ by {100 * self.size:.2g} %"
        return f"Hv differs from the difference of two gradients by {100 * self.size:.2g} %"


def refuse_wrong_second_derivative(risk: Risk, batch: Batch) -> None:
    """Refuses a network or a loss whose Hessian products are wrong.

    Raises:
        InputError: They are; it names the module.
    """
    wrong = _fault_of(risk, batch)
    if wrong is None:
        return
    culprit = type(risk.replica.model).__name__
    if risk.replica.shards.group.alone:
        culprit = innermost(risk, risk.placed(first_examples(batch, EXAMPLES)), _wrong_alone)
    raise InputError(
        f"the second derivative of {culprit} is wrong: {wrong} on a few examples; either torch computes it wrongly, or "
        "the gradient is not that of the loss (straight-through estimators, hooks that change gradients); write that "
        "operation by elementary ones, with contiguous weights; loss and evaluations of the loss are right as they are"
    )


def _fault_of(risk: Risk, batch: Batch) -> Fault | None:
    """In float64 on a few examples; on the whole batch if that cannot be split; else by symmetry alone."""
    if not risk.replica.shards.group.alone:  # no process has all coordinates of a difference
        return _asymmetry_as_it_is(dataclasses.replace(risk, share=None), batch)
    if exact_dtype(risk.replica.device) == torch.float64:
        for part in (first_examples(batch, EXAMPLES if is_small(risk) else 1), batch):
            try:
                return _fault_on(risk, part)
            except Exception as failure:  # whatever a network raises on a few examples or in float64
                if is_out_of_memory(failure):
                    warnings.warn(UNCHECKED, Remark, stacklevel=2)
                    break
    return _asymmetry_as_it_is(risk, batch)


def _fault_on(risk: Risk, part: Batch) -> Fault | None:
    """With second derivatives in the network's own precision; a fault is believed in float64 alone."""
    replica, (value, standing) = risk.replica, loss_in(risk, part, torch.float64)
    if replica.dtype != torch.float64:
        # The graph of second derivatives is three times as large as a gradient's, and takes half the memory there.
        own = loss_in(risk, part, replica.dtype)
        if fault(value, replica.parameters, standing, own=own) is None:
            return None
    return fault(value, replica.parameters, standing)


def is_small(risk: Risk) -> bool:
    """Whether the network takes little memory in float64 too."""
    size = 8 * risk.replica.shards.whole.dimension
    size += 8 * sum(p.numel() for p in risk.replica.model.parameters() if not p.requires_grad)
    return size <= LARGEST


def loss_in(risk: Risk, batch: Batch, dtype: torch.dtype) -> Function:
    """The loss of a batch as a function of the free parameters, with everything in that precision."""
    names = [f"model.{name}" for name in risk.replica.layout.names]
    loss_of = LossOf(risk, moved(batch, risk.replica.device, dtype))
    return _function_of(loss_of, names, lambda leaves: loss_of(), dtype)


def _function_of(
    module: nn.Module, names: Sequence[str], call: Value, dtype: torch.dtype = torch.float64
) -> Function:
    """A call of a module in that precision, as a function whose first arguments are parameters of these names."""
    padding = HeldPadding()

    def value(leaves: Tensors) -> Tensor:
        with padding:
            return call(leaves)

    def standing(leaves: Tensors, act: Callable[[], Any]) -> Any:
        replaced = set(names)  # of which no copy is needed
        others = ((name, t) for name, t in module.named_parameters() if name not in replaced)
        tensors = {name: t.detach().to(dtype) for name, t in others}
        # Copies of the buffers, for the forward pass may write to them.
        for name, buffer in module.named_buffers():
            tensors[name] = buffer.to(dtype if buffer.is_floating_point() else buffer.dtype, copy=True)
        return acting_with(module, tensors | dict(zip(names, leaves, strict=False)), act)

    return value, standing


def fault(
    value: Value,
    point: Tensors,
    standing: Standing = lambda leaves, act: act(),
    *,
    own: Function | None = None,
) -> Fault | None:
    """What is wrong with the second derivative of a function near a point; ``None`` if nothing is.

    Args:
        value: The function, of arguments in float64.
        point: The arguments.
        standing: Surrounds evaluations and backward passes if the arguments are the weights of a network.
        own: The same function of arguments in the precision of the point, of which second derivatives are taken then:
            their graph is several times as large as that of a gradient. Differences of gradients need float64.

    Raises:
        ValueError: The gradient is not finite.
    """
    twice = value_twice, standing_twice = own or (value, standing)
    # The only vector that lives on: it is moved from point to point, and what is compared are sketches.
    leaves = [
        p.detach().to(torch.float64 if own is None else p.dtype, copy=True).requires_grad_() for p in point
    ]
    # Near a perfect fit the derivatives of a saturated softmax are rounding errors, also in float64.
    for _ in range(HALVINGS):
        if abs(float(standing_twice(leaves, lambda: value_twice(leaves)).detach())) > SATURATED:
            break
        with torch.no_grad():
            for leaf in leaves:
                leaf /= 2
    directions = Directions(leaves)
    # Beside the point, which may lie on a kink: a ReLU of zero, a branch whose weight is zero.
    _move(leaves, directions, 0, 0.01)
    for number in range(2, 2 + DIRECTIONS):
        wrong, kinked = _compared(twice, (value, standing), leaves, directions, number)
        if wrong is not None or not kinked:
            return wrong
    return None


def _compared(
    twice: Function, exactly: Function, leaves: list[Tensor], directions: Directions, number: int
) -> tuple[Fault | None, bool]:
    """What is wrong along the direction of that number, and whether a kink may hide it; the leaves come back."""
    own, (value, standing) = leaves[0].dtype, exactly
    value_twice, standing_twice = twice
    asymmetry, products = standing_twice(leaves, lambda: _second(value_twice, leaves, directions, number))
    if own != torch.float64 and not math.isfinite(sum(numbers(*map(norm, products)))):
        return Fault(False, math.inf), False  # in that precision, which may be too narrow
    if asymmetry > ASYMMETRY:
        return Fault(True, asymmetry), False
    _turn(leaves, torch.float64)
    directions = directions.like(leaves)
    slopes, before = list[list[Tensor]](), 0.0
    for step in (0.0, *STEPS):
        _move(leaves, directions, number, step - before)
        slopes.append(standing(leaves, lambda: sketched_slopes(value(leaves), leaves)))
        before = step
    _move(leaves, directions, number, -before)
    _turn(leaves, own)
    here, *there = slopes
    lengths = numbers(*map(norm, here))
    if not all(map(math.isfinite, lengths)):
        raise ValueError("the gradient is not finite")
    wide, narrow = (
        [(b - a) / step for a, b in zip(here, each, strict=True)]
        for step, each in zip(STEPS, there, strict=True)
    )
    rounding = [ROUNDING * length / abs(STEPS[1]) for length in lengths]
    excess, kinked = _excess(products, wide, narrow, directions.sizes, rounding)
    return Fault(False, excess) if excess > DIFFERENCE else None, kinked


def _turn(leaves: list[Tensor], dtype: torch.dtype) -> None:
    """Puts the leaves into another precision, one after the other."""
    for k, leaf in enumerate(leaves):
        if leaf.dtype != dtype:
            leaves[k] = leaf.detach().to(dtype).requires_grad_()


def _second(value: Value, leaves: Tensors, directions: Directions, number: int) -> tuple[float, Tensors]:
    """The asymmetry of the Hessian, and the sketches of its product with a direction."""
    # Each form has a graph of its own, which gives its memory back on the way, for the time of a gradient.
    theirs, _ = _form(gradient_places(value(leaves), leaves), leaves, directions, 1, number)
    ours, products = _form(gradient_places(value(leaves), leaves), leaves, directions, number, 1)
    return _asymmetry(theirs, ours), products


def _form(
    places: Sequence[tuple[int, Output]], leaves: Tensors, directions: Directions, ours: int, theirs: int
) -> tuple[tuple[float, float], Tensors]:
    """The form of two directions, and sketches of the product with ours of all tensors that are used several times.

    Args:
        places: Those of the gradient in its graph, which is given up.
        leaves: What it depends on.
        directions: Random ones.
        ours: The number of the direction that is multiplied.
        theirs: That of the other one; if it is 1, all tensors of the product are sketched.
    """
    uses = contributions([place for _, place in places], dict(enumerate(leaves)))
    several = {use.number for use in uses}
    sketches, sums, norms = [empty_sketch(leaf) for leaf in leaves], list[Tensor](), list[Tensor]()

    def act(k: int, product: Tensor) -> None:
        if theirs == 1 or k in several:
            sketches[k] += sketch(product, k)
        # Of the largest tensor, no copy and no direction is there as a whole beside the product.
        for first, part in pieces(product):
            terms = directions.entries(theirs, k, first, len(part)).mul_(part)
            sums.append(exact(terms.sum()))
            if k not in several:
                norms.append(norm(terms))

    passed_back(places, leaves, act, vectors=partial(directions.tensor, ours), uses=uses)
    for k in several:  # entries of directions for large tensors have one size, so that only signs are lost
        norms.append(directions.sizes[k] * norm(sketches[k]))
    values = numbers(*sums, *norms)
    return (math.fsum(values[: len(sums)]), math.hypot(*values[len(sums) :])), sketches


def _move(leaves: Tensors, directions: Directions, number: int, step: float) -> None:
    """Adds a multiple of the direction of that number to the leaves."""
    with torch.no_grad():
        for k, leaf in enumerate(leaves):
            leaf.add_(directions.tensor(number, k), alpha=step)


def _sums(sums: Sequence[Tensor]) -> tuple[float, float]:
    """The sum of the products of entries and the norm of these, from such sums and norms of each tensor in turn."""
    values = numbers(*sums)
    return math.fsum(values[::2]), math.hypot(*values[1::2])


def _asymmetry(
    ours: tuple[float, float],
    theirs: tuple[float, float],
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> float:
    """``|u·Hv − v·Hu|`` over the size that such sums of random signs have, with sums ``total`` over processes."""
    parts = [ours[0] - theirs[0], ours[1] ** 2, theirs[1] ** 2]
    difference, *squares = numbers(total(torch.tensor(parts, dtype=torch.float64, device="cpu")))
    size = sum(map(math.sqrt, squares))
    return abs(difference) / size if size > 0 else 0.0


def _excess(
    products: Tensors,
    wide: Tensors,
    narrow: Tensors,
    sizes: Sequence[float],
    rounding: Sequence[float],
) -> tuple[float, bool]:
    """How far products are from differences beyond the uncertainty of these, and whether that uncertainty decides."""
    triples = zip(products, wide, narrow, strict=True)
    # Read in one transfer, five norms a tensor.
    norms = iter(numbers(*(norm(x) for p, a, b in triples for x in (p, b, a - b, p - a, p - b))))
    rows = list(zip(sizes, rounding, *[norms] * 5, strict=True))
    floor = 1e-3 * max((size * length for size, _, length, *_ in rows), default=0.0)
    worst, kinked = 0.0, False
    # Tensor by tensor, because a small one is lost in the norm of all.
    for size, rounded, product, difference, disagreement, *errors in rows:
        scale = size * (product + difference) + floor
        # A kink makes the differences with two steps disagree, and gradients that are large beside their change leave
        # nothing but rounding.
        uncertainty = size * (10 * disagreement + rounded)
        error = size * min(errors)
        if scale > 0:
            kinked = kinked or uncertainty > DIFFERENCE * scale
            worst = max(worst, (error - uncertainty) / scale)
    return worst, kinked


def _asymmetry_as_it_is(risk: Risk, batch: Batch) -> Fault | None:
    """The symmetry alone, where the network stands and in its own precision."""
    layout, shards = risk.replica.layout, risk.replica.shards
    directions = Directions(risk.replica.parameters)
    graph = HessianGraph(risk, batch)
    if not shards.all(abs(graph.value) > SATURATED):
        return None
    forms = []
    # Directions are drawn again instead of kept, so that this takes no more memory than a product.
    for number in range(2):
        vector = torch.empty_like(risk.replica.point)
        for k, place in enumerate(layout.split(vector)):
            place.copy_(directions.tensor(number, k))
        (product,) = graph.products([vector], keep=number == 0)
        del vector
        sums = []
        for k, part in enumerate(layout.split(product)):
            terms = part.mul_(directions.tensor(1 - number, k))
            sums += [exact(terms.sum()), norm(terms)]
        forms.append(_sums(sums))
        del product, part, terms
    asymmetry = _asymmetry(forms[0], forms[1], shards.total)
    # Ten times the tolerance, because single precision rounds.
    return Fault(True, asymmetry) if asymmetry > 10 * ASYMMETRY else None


class _Call(nn.Module):
    """A scalar of what a module returns for its inputs, whose floating-point tensors can be replaced."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.module, self.arguments = module, (args, kwargs)

    def forward(self, inputs: Tensors) -> Tensor:
        following = iter(inputs)
        args, kwargs = mapped(self.arguments, lambda t: next(following) if t.is_floating_point() else t)
        outputs = [t for t in tensors_in(self.module(*args, **kwargs)) if t.is_floating_point()]
        # Neither linear in the outputs, which would hide what is linear, nor symmetric in them.
        parts = [
            (t.cos() * torch.linspace(1, 2, t.numel(), dtype=t.dtype, device=t.device).reshape(t.shape)).sum()
            for t in outputs
        ]
        return torch.stack(parts).sum()


def _wrong_alone(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the second derivative of a module is wrong by itself."""
    call = _Call(module, args, kwargs)
    inputs = [t.detach().double() for t in tensors_in(call.arguments) if t.is_floating_point()]
    names = [name for name, _ in call.named_parameters()]
    value, standing = _function_of(call, names, lambda leaves: call(leaves[len(names) :]))
    parameters = [p.detach().double() for p in call.parameters()]
    try:
        return fault(value, [*parameters, *inputs], standing) is not None
    except Exception:  # whatever a module raises that is called by itself
        return False
