"""Attention by the kernel that has a second derivative, in one thread."""

import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.isolation.checkpointing import RecomputedIn
from landscape.isolation.replacing import Replacing


class PlainAttention(Replacing):
    """Attention by matrix products and a softmax in this thread, as the fused kernels have no second derivative.

    Fused encoder layers are off too: torch does not use them while a mode is active. Activation checkpoints compute
    again by the same attention.
    """

    def __init__(self) -> None:
        super().__init__(_PLAIN)

    def __enter__(self) -> "PlainAttention":
        _RECOMPUTED.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)  # type: ignore[no-untyped-call]
        _RECOMPUTED.__exit__()


_RECOMPUTED = RecomputedIn(PlainAttention)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """``functional.scaled_dot_product_attention``, with its parameters."""
    kind = query.device.type
    # Autocast casts the arguments of the public function, but not of the one below.
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        tensors: list[Any] = [
            tensor if tensor is None or tensor.dtype in (torch.bool, torch.float64) else tensor.to(dtype)
            for tensor in (query, key, value, attn_mask)
        ]
        with torch.autocast(kind, enabled=False):
            return _attention(*tensors, *rest, **options)
    # A causal bias is a tensor without values, which picks a fused kernel itself. To import its module here would
    # load all of torch's compiler, about two seconds for every command; where there is one, it has been imported.
    bias = sys.modules.get("torch.nn.attention.bias")
    if bias is not None and isinstance(attn_mask, bias.CausalBias):
        attn_mask = attn_mask._materialize(query.device)
    if attn_mask is not None and attn_mask.dtype is torch.bool:  # only the public function converts it
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
    # torch's own fallback, so equal bit for bit; the public way to it, sdpa_kernel(), is a switch of the process.
    math: Callable[..., tuple[Tensor, Tensor]] = torch._scaled_dot_product_attention_math
    return math(query, key, value, attn_mask, *rest, **options)[0]


_MULTIHEAD = functional.multi_head_attention_forward
_PLAIN: dict[object, Callable[..., Any]] = {
    functional.scaled_dot_product_attention: _attention,
    torch.ops.aten.scaled_dot_product_attention: _attention,
    torch.ops.aten.scaled_dot_product_attention.default: _attention,  # as exported networks call it
    # A mode is off inside the functions that it replaces, so that nn.MultiheadAttention needs a copy of torch's
    # function with the attention above among its globals; one that other modes do not send back to the original.
    _MULTIHEAD: types.FunctionType(
        _MULTIHEAD.__code__,
        _MULTIHEAD.__globals__
        | {"scaled_dot_product_attention": _attention, "has_torch_function": lambda tensors: False},
        argdefs=_MULTIHEAD.__defaults__,
    ),
}


def is_attention(function: object) -> bool:
    """Whether :class:`PlainAttention` replaces a function of torch."""
    return function in _PLAIN
