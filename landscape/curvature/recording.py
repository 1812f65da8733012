"""Records where a forward pass uses parameters linearly, operation by operation.

The operations are intercepted, not the modules, so that it does not matter whether a weight is used by its own layer,
by a function, or through padding or attention written in Python. An operation that is not in the table, or whose
result does not have the examples in its first dimension, leaves its parameters unrecorded.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from landscape.curvature.linear_uses import Linear, Lookup, Product, Scaling, Use, patches

Uses = Iterator[tuple[object, Linear]]
"""Possible parameters, and the maps from them to the result."""


def _linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Uses:
    x = input.detach()

    def views() -> Tensor:
        return x.reshape(x.shape[0], 1, -1, x.shape[-1]).mT

    yield weight, Product(weight.shape, out.shape, views, last=True)
    if bias is not None:
        yield bias, Scaling(bias.shape, out.shape)


def _convolution(
    out: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Uses:
    x, kernel = input.detach(), weight.shape[2:]
    if x.ndim != weight.ndim:  # one example without its dimension
        return
    if not isinstance(padding, str):
        sizes = {"stride": stride, "padding": padding, "dilation": dilation}
        each = {name: (size,) if isinstance(size, int) else tuple(size) for name, size in sizes.items()}
        how = {name: size * (len(kernel) // len(size)) for name, size in each.items()}

        def views() -> Tensor:
            return patches(x, kernel, groups=groups, **how)

        yield weight, Product(weight.shape, out.shape, views, last=False, groups=groups)
    if bias is not None:
        yield bias, Scaling((len(bias), *(1,) * len(kernel)), out.shape)


def _batch_norm(out: Tensor, call: Any) -> Uses:
    if call.training or call.running_mean is None or call.running_var is None:
        return
    shape = (-1, *(1,) * (call.input.ndim - 2))
    centred = call.input.detach() - call.running_mean.reshape(shape)
    factor = centred * torch.rsqrt(call.running_var + call.eps).reshape(shape)
    yield call.weight, Scaling((call.input.shape[1], *shape[1:]), out.shape, factor)
    yield call.bias, Scaling((call.input.shape[1], *shape[1:]), out.shape)


def _layer_norm(out: Tensor, call: Any) -> Uses:
    shape = tuple(call.normalized_shape)
    normalised = functional.layer_norm(call.input.detach(), shape, eps=call.eps)
    yield call.weight, Scaling(shape, out.shape, normalised)
    yield call.bias, Scaling(shape, out.shape)


def _group_norm(out: Tensor, call: Any) -> Uses:
    shape = (call.input.shape[1], *(1,) * (call.input.ndim - 2))
    normalised = functional.group_norm(call.input.detach(), call.num_groups, eps=call.eps)
    yield call.weight, Scaling(shape, out.shape, normalised)
    yield call.bias, Scaling(shape, out.shape)


def _embedding(out: Tensor, call: Any) -> Uses:
    # max_norm writes to the weight, and scale_grad_by_freq divides gradients by counts over the whole batch.
    if call.max_norm is None and not call.scale_grad_by_freq:
        rows = call.weight.shape[0]
        ignored = None if call.padding_idx is None else call.padding_idx % rows
        yield call.weight, Lookup(call.weight.shape, call.input, ignored)


def _sum(out: Tensor, input: Tensor, other: object, *, alpha: float = 1) -> Uses:
    for term, factor in ((input, 1.0), (other, alpha)):
        shape = _aligned(term, out)
        if shape is not None:
            yield term, Scaling(shape, out.shape, None if factor == 1 else out.new_tensor(float(factor)))


def _added_rows(out: Tensor, rows: Tensor, call: Any) -> Uses:
    """Those of an embedding that is read once for all examples, at the sum in which every example gets its own copy."""
    if rows.shape == out.shape[-rows.ndim :] or rows.shape == (1, *out.shape[1:]):
        indices = call.input.expand(out.shape[:-1])
        yield from _embedding(out, SimpleNamespace(**{**vars(call), "input": indices}))


def _product(out: Tensor, input: Tensor, other: object) -> Uses:
    for parameter, factor in ((input, other), (other, input)):
        shape = _aligned(parameter, out)
        if shape is not None and isinstance(factor, Tensor):
            yield parameter, Scaling(shape, out.shape, factor.detach())


def _expanded(out: Tensor, input: Tensor, *sizes: object) -> Uses:
    shape = _aligned(input, out)
    if shape is not None:
        yield input, Scaling(shape, out.shape)


def _aligned(parameter: object, out: Tensor) -> tuple[int, ...] | None:
    """The shape of a parameter for one example, if it is the same for all examples."""
    if not isinstance(parameter, nn.Parameter) or not out.ndim:
        return None
    if parameter.ndim < out.ndim:
        return tuple(parameter.shape)
    return tuple(parameter.shape[1:]) if parameter.shape[0] == 1 else None


def _arguments(function: Callable[..., Any], *args: Any, **options: Any) -> SimpleNamespace:
    """The arguments of a call by name, with defaults; ``function`` must be written in Python."""
    call = inspect.signature(function).bind(*args, **options)
    call.apply_defaults()
    return SimpleNamespace(**call.arguments)


BUILT_IN: Mapping[object, Callable[..., Uses]] = {
    functional.linear: _linear,
    torch.conv1d: _convolution,
    torch.conv2d: _convolution,
    torch.add: _sum,
    Tensor.add: _sum,
    torch.mul: _product,
    Tensor.mul: _product,
    Tensor.expand: _expanded,
}
"""Operations without a Python signature: called with the result and the operation's own arguments."""

IN_PYTHON: Mapping[object, Callable[[Tensor, Any], Uses]] = {
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.embedding: _embedding,
}
"""Operations with a Python signature: called with the result and the arguments by name."""


class NotRecordedError(RuntimeError):
    """The forward pass contains an operation that cannot be recorded."""


class Recorder(TorchFunctionMode):
    """Records the uses of some parameters in the order of a forward pass on a known number of examples."""

    def __init__(self, parameters: Sequence[Tensor], examples: int) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._parameters, self._examples = {id(parameter) for parameter in parameters}, examples
        # Results of embeddings, with the call that read them and what was recorded of it.
        self._rows: dict[int, tuple[Tensor, SimpleNamespace, list[Use]]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and records what it uses."""
        options = dict(kwargs or {})
        if func is functional.multi_head_attention_forward:
            with self:  # torch leaves the mode while it calls this method
                return self_attention(_arguments(func, *args, **options))
        out = func(*args, **options)
        known = self._parameters | self._rows.keys()
        if not any(id(value) in known for value in (*args, *options.values())):
            return out
        if not isinstance(out, Tensor) or not out.ndim:
            return out
        recorded = self._recorded(func, out, args, options) if out.shape[0] == self._examples else []
        self.uses += recorded
        result = out.clone() if recorded else out  # a copy, because the network may write into the result
        if func is functional.embedding:
            self._rows[id(result)] = result, _arguments(func, *args, **options), recorded
        return result

    def _recorded(
        self, func: Any, out: Tensor, args: tuple[Any, ...], options: Mapping[str, Any]
    ) -> list[Use]:
        uses: Uses = iter(())
        if func in BUILT_IN:
            uses = BUILT_IN[func](out, *args, **options)
        elif func in IN_PYTHON:
            uses = IN_PYTHON[func](out, _arguments(func, *args, **options))
        if func in (torch.add, Tensor.add) and not options:
            uses = itertools.chain(uses, *(self._shared(out, term) for term in args[:2]))
        with torch.no_grad():
            return [
                Use(value, out, linear)
                for value, linear in uses
                if isinstance(value, Tensor) and id(value) in self._parameters
            ]

    def _shared(self, out: Tensor, term: object) -> Uses:
        """Rows of an embedding that all examples share, such as those of positions, where they are added."""
        rows, call, before = self._rows.get(id(term), (None, None, []))
        if rows is None or (rows.ndim == out.ndim and rows.shape[0] == self._examples):
            return iter(())
        # There were as many rows as examples, for which they were mistaken.
        self.uses[:] = [use for use in self.uses if all(use is not other for other in before)]
        return _added_rows(out, rows, call)


def self_attention(call: Any) -> tuple[Tensor, Tensor | None]:
    """``torch.nn.MultiheadAttention`` of a sequence with itself, in operations that can be recorded.

    An interception sees torch's own forward pass as one operation. Its sequences are ``(T, B, width)``; the
    projections are computed on ``(B, T, width)``, with the examples in front.

    Raises:
        NotRecordedError: Attention to another sequence, or dropout.
    """
    query = call.query
    extras = (call.bias_k, call.bias_v, call.static_k, call.static_v)
    if (
        not (query is call.key is call.value and query.ndim == 3 and call.in_proj_weight is not None)
        or any(extra is not None for extra in extras)
        or call.add_zero_attn
        or call.use_separate_proj_weight
        or (call.training and call.dropout_p)
    ):
        raise NotRecordedError("attention other than of one sequence with itself")
    count, width = query.shape[1], query.shape[2]
    projected = functional.linear(query.transpose(0, 1), call.in_proj_weight, call.in_proj_bias)
    heads = projected.reshape(count, -1, 3, call.num_heads, width // call.num_heads).permute(2, 0, 3, 1, 4)
    scores, mask = heads[0] @ heads[1].mT / math.sqrt(heads.shape[-1]), _mask(call, heads)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    joined = (weights @ heads[2]).transpose(1, 2).reshape(count, -1, width)
    out = functional.linear(joined, call.out_proj_weight, call.out_proj_bias).transpose(0, 1)
    if not call.need_weights:
        return out, None
    return out, weights.mean(1) if call.average_attn_weights else weights


def _mask(call: Any, heads: Tensor) -> Tensor | None:
    """The sum of the masks of an attention as it is added to the scores ``(B, heads, T, T)``."""
    count, tokens = heads.shape[1], heads.shape[3]
    mask: Tensor | None = None
    shapes = (
        (call.key_padding_mask, (count, 1, 1, tokens)),
        (call.attn_mask, (-1, call.num_heads, tokens, tokens)),
    )
    for term, shape in shapes:
        if term is None:
            continue
        if term.dtype == torch.bool:
            term = torch.zeros_like(term, dtype=heads.dtype).masked_fill(term, -math.inf)
        # One matrix for all examples and heads, or one for each of them.
        term = term if term.ndim == 2 and shape[0] < 0 else term.reshape(shape)
        mask = term if mask is None else mask + term
    return mask


@contextmanager
def recorded(model: nn.Module, names: Sequence[str], examples: int) -> Iterator[list[Use]]:
    """Inside, records how forward passes on ``examples`` examples use the named parameters."""
    parameters = dict(model.named_parameters())
    with Recorder([parameters[name] for name in names], examples) as recorder:
        yield recorder.uses
