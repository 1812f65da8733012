"""Where a forward pass uses parameters linearly, operation by operation.

The operations are intercepted, not the modules: it does not matter whether a weight is used by its own layer, by a
function, or through padding or attention written in Python. An operation that is not in the table, or whose result
does not have the examples in its first dimension, leaves its parameters unrecorded, and whoever asks takes another
way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from landscape.curvature.linear_uses import Linear, Lookup, Product, Scaling, Use, patches

Found = Iterator[tuple[object, Linear]]
"""Possible parameters, and the maps from them to the result."""


def _linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Found:
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
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Found:
    x, kernel = input.detach(), weight.shape[2:]
    if not isinstance(padding, str) and x.ndim == weight.ndim:
        sizes = {"stride": stride, "padding": padding, "dilation": dilation}
        each = {
            name: (size,) * len(kernel) if isinstance(size, int) else size for name, size in sizes.items()
        }
        how = {name: tuple(size) * (len(kernel) // len(size)) for name, size in each.items()}
        yield (
            weight,
            Product(weight.shape, out.shape, lambda: patches(x, kernel, groups=groups, **how), last=False),
        )
    if bias is not None and x.ndim == weight.ndim:
        yield bias, Scaling((len(bias), *(1,) * len(kernel)), out.shape)


def _batch_norm(
    out: Tensor,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Found:
    if training or running_mean is None or running_var is None:
        return
    shape = (-1, *(1,) * (input.ndim - 2))
    factor = (input.detach() - running_mean.reshape(shape)) * torch.rsqrt(running_var + eps).reshape(shape)
    yield weight, Scaling((input.shape[1], *shape[1:]), out.shape, factor)
    yield bias, Scaling((input.shape[1], *shape[1:]), out.shape)


def _layer_norm(
    out: Tensor,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Found:
    shape = tuple(normalized_shape)
    yield weight, Scaling(shape, out.shape, functional.layer_norm(input.detach(), shape, eps=eps))
    yield bias, Scaling(shape, out.shape)


def _group_norm(
    out: Tensor,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Found:
    shape = (input.shape[1], *(1,) * (input.ndim - 2))
    yield weight, Scaling(shape, out.shape, functional.group_norm(input.detach(), num_groups, eps=eps))
    yield bias, Scaling(shape, out.shape)


def _embedding(
    out: Tensor,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Found:
    if max_norm is None and not scale_grad_by_freq:
        ignored = None if padding_idx is None else padding_idx % weight.shape[0]
        yield weight, Lookup(weight.shape, input, ignored)


def _sum(out: Tensor, input: Tensor, other: object, *, alpha: float = 1) -> Found:
    for one, factor in ((input, 1.0), (other, alpha)):
        shape = _aligned(one, out)
        if shape is not None:
            yield one, Scaling(shape, out.shape, None if factor == 1 else out.new_tensor(float(factor)))


def _product(out: Tensor, input: Tensor, other: object) -> Found:
    for one, factor in ((input, other), (other, input)):
        shape = _aligned(one, out)
        if shape is not None and isinstance(factor, Tensor):
            yield one, Scaling(shape, out.shape, factor.detach())


def _expanded(out: Tensor, input: Tensor, *sizes: object) -> Found:
    shape = _aligned(input, out)
    if shape is not None:
        yield input, Scaling(shape, out.shape)


def _aligned(parameter: object, out: Tensor) -> tuple[int, ...] | None:
    """Its shape for one example, if it is the same for all."""
    if not isinstance(parameter, nn.Parameter) or not out.ndim:
        return None
    if parameter.ndim < out.ndim:
        return tuple(parameter.shape)
    return tuple(parameter.shape[1:]) if parameter.shape[0] == 1 else None


OPERATIONS: Mapping[object, Callable[..., Found]] = {
    functional.linear: _linear,
    torch.conv1d: _convolution,
    torch.conv2d: _convolution,
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.embedding: _embedding,
    torch.add: _sum,
    Tensor.add: _sum,
    torch.mul: _product,
    Tensor.mul: _product,
    Tensor.expand: _expanded,
}
"""How each operation uses the tensors that it is given; the arguments are named as its own are."""


class Recorder(TorchFunctionMode):
    """Notes the uses of some parameters while it is entered.

    Args:
        wanted: The parameters.
        examples: How many examples the forward pass is on.

    Attributes:
        uses: In the order of the forward pass.
    """

    def __init__(self, wanted: Sequence[Tensor], examples: int) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._wanted, self._examples = {id(one) for one in wanted}, examples

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the operation; what it returns is a copy where it was noted, for what follows may write into it."""
        given = dict(kwargs or {})
        if func is functional.multi_head_attention_forward:
            with self:
                return self_attention(*args, **given)
        out = func(*args, **given)
        operation = OPERATIONS.get(func)
        if operation is None or not any(id(one) in self._wanted for one in (*args, *given.values())):
            return out
        if not isinstance(out, Tensor) or not out.ndim or out.shape[0] != self._examples:
            return out
        with torch.no_grad():
            found = [
                Use(one, out, linear)
                for one, linear in operation(out, *args, **given)
                if isinstance(one, Tensor) and id(one) in self._wanted
            ]
        self.uses += found
        return out.clone() if found else out


class NotRecordedError(RuntimeError):
    """The forward pass does what cannot be recorded."""


def self_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    **rest: Any,
) -> tuple[Tensor, None]:
    """``torch.nn.MultiheadAttention`` of a sequence with itself, in operations that can be recorded.

    Its own forward pass is one operation in the eyes of an interception. Sequences come as ``(T, B, width)``, as
    torch's module hands them on; the projections are made on ``(B, T, width)``.

    Raises:
        NotRecordedError: Attention to another sequence, masks, dropout, or weights wanted.
    """
    plain = query is key is value and query.ndim == 3 and in_proj_weight is not None
    extras = (bias_k, bias_v, key_padding_mask, attn_mask, rest.get("static_k"), rest.get("static_v"))
    if (
        not plain
        or any(one is not None for one in extras)
        or add_zero_attn
        or use_separate_proj_weight
        or need_weights
        or (training and dropout_p)
    ):
        raise NotRecordedError("attention other than of one sequence with itself")
    count, width = query.shape[1], query.shape[2]
    assert in_proj_weight is not None
    projected = functional.linear(query.transpose(0, 1), in_proj_weight, in_proj_bias)
    heads = projected.reshape(count, -1, 3, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
    joined = mixed.transpose(1, 2).reshape(count, -1, width)
    return functional.linear(joined, out_proj_weight, out_proj_bias).transpose(0, 1), None


@contextmanager
def recorded(model: nn.Module, names: Sequence[str], examples: int) -> Iterator[list[Use]]:
    """The uses of the parameters of those names by the forward passes made meanwhile.

    Args:
        model: The network.
        names: As in ``model.named_parameters()``.
        examples: How many examples a forward pass will be on.
    """
    parameters = dict(model.named_parameters())
    with Recorder([parameters[name] for name in names], examples) as recorder:
        yield recorder.uses
