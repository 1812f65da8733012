"""Batch norm whose statistics are those of the batch of all processes, on any device.

``torch.nn.SyncBatchNorm`` is for GPUs alone. Here the function is replaced, and not the module, so that a module which
does more than batch norm, as those of timm do, still does.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm  # private, but the only common base of the norms

from landscape.isolation.replacing import Replacing
from landscape.optim import Exchange
from landscape.reductions import exact


def synchronise(model: nn.Module, exchange: Exchange) -> None:
    """Makes every batch norm of a model one of the whole batch, in place; the processes enter each together.

    In evaluation mode nothing changes. Parts of a batch may have any sizes. A pass of an example that does not count
    (``exchange.is_idle``) takes part in the exchanges and adds nothing.

    Reference:
        The statistics of parts are combined as in Chan, Golub and LeVeque 1979, equation 2.1, for several parts.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            kind = type(module)
            module.__class__ = type(kind.__name__, (_Synchronised, kind), {"exchange": exchange})
            exchange.couples = True


def unsynchronised(model: nn.Module) -> nn.Module:
    """The model, with the batch norms of before :func:`synchronise`, in place."""
    for module in model.modules():
        if isinstance(module, _Synchronised):
            module.__class__ = type(module).__mro__[2]
    return model


class _Synchronised:
    """A batch norm that looks for the function ``batch_norm`` in the processes; the exchange is not copied with it."""

    exchange: Exchange

    def forward(self, input: Tensor) -> Tensor:
        """The output of the module."""
        with Replacing({functional.batch_norm: partial(_batch_norm, self.exchange)}):
            output: Tensor = super().forward(input)  # type: ignore[misc]
        return output


def _batch_norm(
    exchange: Exchange,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``functional.batch_norm``; its parameters have the same names."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    mean, var, count = _statistics(input.detach(), exchange)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        unbiased = var * (count / (count - 1)).to(var.dtype)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    if weight is None:
        weight, bias = torch.ones_like(mean), torch.zeros_like(mean)
    output: Tensor = _Normalised.apply(input, weight, bias, mean, var, count, eps, exchange)
    return output


def _statistics(input: Tensor, exchange: Exchange) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance ``(C,)`` of all processes, and the numbers a channel ``()`` behind them."""
    channels, group = input.shape[1], exchange.group
    precision = torch.promote_types(input.dtype, torch.float32)
    if input.is_cpu:
        # Not in torch's documentation, but the pass of its own batch norm, in a third of the time of `var_mean`.
        mean, var = torch.batch_norm_update_stats(input.to(precision), None, None, 0.0)
    else:
        axes = [axis for axis in range(input.ndim) if axis != 1]
        var, mean = torch.var_mean(input.to(precision), axes, correction=0)
    parts = mean.new_zeros(group.world, 2 * channels + 1)
    if not exchange.is_idle:
        parts[group.rank, 0] = input.numel() // channels
        parts[group.rank, 1 : channels + 1], parts[group.rank, channels + 1 :] = mean, var
    group.add([parts])
    counts, means, variances = torch.split(exact(parts), [1, channels, channels], dim=1)
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - joint).square())).sum(0) / total
    return joint.to(precision), spread.to(precision), total


class _Normalised(torch.autograd.Function):
    """``w (x − mean) / √(var + eps) + b``, where mean and variance depend on the inputs of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        count: Tensor,
        eps: float,
        exchange: Exchange,
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean, var, count)
        ctx.eps, ctx.exchange, ctx.counts = eps, exchange, not exchange.is_idle
        return functional.batch_norm(input, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, var, count = ctx.saved_tensors
        # With constant statistics, by torch's kernel. Those of weight and bias stay the own part: whoever sums the
        # gradients of all parameters sums them too.
        constant, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, input, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        along, total = of_weight.clone(), of_bias.clone()
        ctx.exchange.group.add([along, total])
        if not ctx.counts:  # the statistics do not depend on it
            return constant, of_weight, of_bias, None, None, None, None, None
        scale = (var + ctx.eps).rsqrt()
        divisor = count.to(scale.dtype)
        shift, slope = weight * scale * total / divisor, weight * scale.square() * along / divisor
        # slope · (x − mean) + shift, in one pass over the memory.
        through = functional.batch_norm(input, mean, torch.ones_like(var), slope, shift, False, 0.0, 0.0)
        return constant.sub_(through), of_weight, of_bias, None, None, None, None, None
