"""Compares the second derivative with differences of the gradient, once, on a few examples in float64.

Some operations of torch have a wrong second derivative, and some networks a gradient that is not the derivative of
their loss (a straight-through estimator, a hook that reverses gradients). Nothing raises there: the Hessian product is
merely another number. Two properties tell: a Hessian is symmetric, and its product with v is the derivative of the
gradient along v.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape.draws import Draws
from landscape.errors import InputError, ProcessFailed, is_out_of_memory
from landscape.losses.outputs import acting_with
from landscape.objective.autograd_graph import slopes
from landscape.objective.batch import Batch, leading_size, mapped, moved, tensors_in
from landscape.objective.differentiability import innermost
from landscape.objective.graphs import HessianGraph, LossOf
from landscape.objective.kernels import HeldPadding
from landscape.objective.risk import Risk
from landscape.reductions import exact, exact_dtype, norm, numbers

EXAMPLES = 2  # convolutions in float64 are slow
STEPS = (
    1e-8,
    -5e-9,
)  # of two differences, relative to the weights: so small that hardly a ReLU changes its side
ASYMMETRY = 1e-3  # what v·Hw and w·Hv may differ by, relative to their typical size
DIFFERENCE = (
    1e-3  # what a product may differ from a difference of gradients by, beyond the error of the latter
)
ROUNDING = 1e-14  # of a gradient in float64, relative to it: its terms may be larger than their sum
SATURATED = 1e-3  # a loss that is smaller may be that of a perfect fit
HALVINGS = 8  # how often the weights of a perfect fit are halved at the most
DIRECTIONS = 3  # tried until one meets no kink
# Bytes of weights in float64. Of a larger network only the symmetry is checked, as it is: the rest would take several
# times the memory of a product.
LARGEST = 1 << 26

Tensors = Sequence[Tensor]
Value = Callable[[Tensors], Tensor]
Standing = Callable[[Tensors, Callable[[], Any]], Any]
"""Calls a function while a network has some tensors for its weights."""


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
        culprit = innermost(risk, risk.placed(_few(batch)), _wrong_alone)
    raise InputError(
        f"the second derivative of {culprit} is wrong: {wrong} on a few examples; either torch computes it wrongly, or "
        "the gradient is not that of the loss (straight-through estimators, hooks that change gradients); write that "
        "operation by elementary ones, with contiguous weights; loss and evaluations of the loss are right as they are"
    )


def _fault_of(risk: Risk, batch: Batch) -> Fault | None:
    """In float64 on a few examples; on the whole batch if that cannot be split; else by symmetry alone."""
    if not risk.replica.shards.group.alone:  # no process has all coordinates of a difference
        return _asymmetry_as_it_is(dataclasses.replace(risk, share=None), batch)
    if _fits(risk):
        for part in (_few(batch), batch):
            value, standing = _loss_in_float64(risk, part)
            try:
                return fault(value, [p.detach().double() for p in risk.replica.parameters], standing)
            except Exception as failure:  # whatever a network raises on a few examples or in float64
                if is_out_of_memory(failure):
                    break
    return _asymmetry_as_it_is(risk, batch)


def gradient_rounding(risk: Risk, batch: Batch) -> float | None:
    """The norm of the rounding errors in the gradient of a few examples; ``None`` without a float64 value.

    For the memory that it takes, large networks have none.
    """
    few, shards = _few(batch), risk.replica.shards
    if not shards.all(_fits(risk)):
        return None

    def length(norms: Sequence[Tensor]) -> float:
        return float(shards.total(torch.stack(list(norms)).square().sum()).sqrt())

    try:
        here = slopes(risk.forward(few)[0], risk.replica.parameters)
        if risk.replica.dtype == torch.float64:
            return ROUNDING * length([norm(part) for part in here])
        value, standing = _loss_in_float64(risk, few)
        leaves = [p.detach().double().requires_grad_() for p in risk.replica.parameters]
        errors = standing(leaves, lambda: _distances(value(leaves), leaves, here))
    except Exception as failure:  # whatever a network raises on a few examples or in float64
        if is_out_of_memory(failure) or isinstance(failure, ProcessFailed):
            raise
        return None
    return length(errors)


def _fits(risk: Risk) -> bool:
    """Whether the network is so small that it is computed in float64 too, and the device has that."""
    size = 8 * risk.replica.shards.whole.dimension
    size += 8 * sum(p.numel() for p in risk.replica.model.parameters() if not p.requires_grad)
    return size <= LARGEST and exact_dtype(risk.replica.device) == torch.float64


def _distances(value: Tensor, leaves: Tensors, others: Tensors) -> list[Tensor]:
    """How far the gradient is from another one, tensor by tensor, of which no two are there at once."""
    if not value.requires_grad:
        return [norm(other) for other in others]
    places = {id(leaf): other for leaf, other in zip(leaves, others, strict=True)}
    distances: list[Tensor] = []

    def compare(leaf: Tensor) -> None:
        assert leaf.grad is not None
        distances.append(norm(leaf.grad - places.pop(id(leaf))))
        leaf.grad = None

    hooks = [leaf.register_post_accumulate_grad_hook(compare) for leaf in leaves]  # type: ignore[no-untyped-call]
    try:
        torch.autograd.backward(value, inputs=list(leaves))
    finally:
        for hook in hooks:
            hook.remove()
    return [*distances, *map(norm, places.values())]


def _few(batch: Batch) -> Batch:
    count = leading_size(batch)
    return mapped(batch, lambda t: t[:EXAMPLES] if t.ndim and len(t) == count else t)


def _loss_in_float64(risk: Risk, batch: Batch) -> tuple[Value, Standing]:
    """The loss of a batch as a function of the free parameters, with everything in float64."""
    names = [f"model.{name}" for name in risk.replica.layout.names]
    loss_of = LossOf(risk, moved(batch, risk.replica.device, torch.float64))
    return _function_of(loss_of, names, lambda leaves: loss_of())


def _function_of(module: nn.Module, names: Sequence[str], call: Value) -> tuple[Value, Standing]:
    """A call of a module in float64, as a function whose first arguments are parameters of these names."""
    padding = HeldPadding()

    def value(leaves: Tensors) -> Tensor:
        with padding:
            return call(leaves)

    def standing(leaves: Tensors, act: Callable[[], Any]) -> Any:
        replaced = set(names)  # of which no copy is needed
        others = ((name, t) for name, t in module.named_parameters() if name not in replaced)
        tensors = {name: t.detach().double() for name, t in others}
        # Copies of the buffers, for the forward pass may write to them.
        for name, buffer in module.named_buffers():
            tensors[name] = buffer.to(
                torch.float64 if buffer.is_floating_point() else buffer.dtype, copy=True
            )
        return acting_with(module, tensors | dict(zip(names, leaves, strict=False)), act)

    return value, standing


def fault(value: Value, point: Tensors, standing: Standing = lambda leaves, act: act()) -> Fault | None:
    """What is wrong with the second derivative of a function near a point, in float64; ``None`` if nothing is.

    ``standing`` surrounds evaluations and backward passes if the arguments are the weights of a network.

    Raises:
        ValueError: The gradient is not finite.
    """
    # Near a perfect fit the derivatives of a saturated softmax are rounding errors, also in float64.
    for _ in range(HALVINGS):
        here = [p.clone().requires_grad_() for p in point]
        if abs(float(standing(here, lambda here=here: value(here)).detach())) > SATURATED:  # type: ignore[misc]
            break
        point = [p / 2 for p in point]
    sizes = _sizes(point)
    # Beside the point, which may lie on a kink: a ReLU of zero, a branch whose weight is zero.
    aside = _direction(sizes, point, 0)
    start = [(p + 0.01 * d).requires_grad_() for p, d in zip(point, aside, strict=True)]
    del point, here, aside  # each is as large as the network
    result: Fault | None = standing(start, lambda: _fault_at(value, start, sizes, standing))
    return result


def _fault_at(value: Value, start: Tensors, sizes: Sequence[float], standing: Standing) -> Fault | None:
    gradient = slopes(value(start), start, graph=True)
    lengths = numbers(*map(norm, gradient))
    if not all(map(math.isfinite, lengths)):
        raise ValueError("the gradient is not finite")

    def difference(number: int, step: float) -> list[Tensor]:
        along = _drawn(sizes, start, number)
        there = [(p.detach() + step * part).requires_grad_() for p, part in zip(start, along, strict=True)]
        moved = list(standing(there, lambda: slopes(value(there), there)))
        for k, slope in enumerate(gradient):
            moved[k] = (moved[k] - slope.detach()) / step
        return moved

    rounding = [ROUNDING * length / abs(STEPS[1]) for length in lengths]
    for number in range(2, 2 + DIRECTIONS):
        # One product after the other, and directions are drawn again instead of kept: each is as large as the network.
        across = _multiplied(gradient, start, _direction(sizes, start, 1))
        form = _form(_drawn(sizes, start, number), across)
        del across
        along = _multiplied(gradient, start, _direction(sizes, start, number))
        asymmetry = _asymmetry(_form(_drawn(sizes, start, 1), along), form)
        if asymmetry > ASYMMETRY:
            return Fault(True, asymmetry)
        wide, narrow = (difference(number, step) for step in STEPS)
        excess, kinked = _excess(along, wide, narrow, sizes, rounding)
        if excess > DIFFERENCE:
            return Fault(False, excess)
        if not kinked:
            break
    return None


def _sizes(point: Tensors) -> list[float]:
    """The typical size of the entries of every tensor, from which steps are made: at least a hundredth of all."""
    lengths = numbers(*map(norm, point))
    overall = math.hypot(*lengths) / math.sqrt(max(1, sum(p.numel() for p in point))) or 1.0
    typical = (length / math.sqrt(max(1, p.numel())) for length, p in zip(lengths, point, strict=True))
    return [max(size, 0.01 * overall) for size in typical]


def _direction(sizes: Sequence[float], like: Tensors, number: int) -> list[Tensor]:
    """The random direction of that number, in proportion to the sizes of the tensors."""
    return list(_drawn(sizes, like, number))


def _drawn(sizes: Sequence[float], like: Tensors, number: int) -> Iterator[Tensor]:
    """The tensors of that direction, one after the other."""
    draws = Draws(0).fold(number)
    for k, (size, p) in enumerate(zip(sizes, like, strict=True)):
        yield draws.normals(range(k, k + 1), p.numel(), like=p).mul_(size).reshape(p.shape)


def _multiplied(gradient: Tensors, leaves: Tensors, vectors: Tensors) -> Tensors:
    """The product of the Hessian with a vector, by double backward."""
    curved = [(slope, vector) for slope, vector in zip(gradient, vectors, strict=True) if slope.requires_grad]
    if not curved:
        return [torch.zeros_like(leaf) for leaf in leaves]
    outputs, directions = zip(*curved, strict=True)
    return torch.autograd.grad(
        outputs, leaves, directions, retain_graph=True, allow_unused=True, materialize_grads=True
    )


def _form(vectors: Iterable[Tensor], products: Tensors) -> tuple[float, float]:
    """The sum of the products of entries, and the norm of these, tensor by tensor."""
    sums: list[Tensor] = []
    for a, b in zip(vectors, products, strict=True):
        terms = a * b
        sums += [exact(terms.sum()), norm(terms)]
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
    point = [p.detach() for p in risk.replica.parameters]
    sizes = _sizes(point)
    graph = HessianGraph(risk, batch)
    if not shards.all(abs(graph.value) > SATURATED):
        return None
    forms = []
    # Directions are drawn again instead of kept, so that this takes no more memory than a product.
    for number in range(2):
        vector = torch.empty_like(risk.replica.point)
        for place, part in zip(layout.split(vector), _drawn(sizes, point, number), strict=True):
            place.copy_(part)
        (product,) = graph.products([vector], keep=number == 0)
        del vector
        forms.append(_form(_drawn(sizes, point, 1 - number), layout.split(product)))
        del product
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
