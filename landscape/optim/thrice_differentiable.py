"""Batch norm with a third derivative, which torch's own does not have."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class ThriceDifferentiable(TorchFunctionMode):
    """Inside, batch norm is made of elementary operations; its running statistics are torch's, bit for bit."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called for each operation of torch."""
        chosen = _batch_norm if func is functional.batch_norm else func
        return chosen(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``functional.batch_norm``, with its parameters by the same names."""
    if training:
        with torch.no_grad():  # for the running statistics, and to refuse what torch refuses
            functional.batch_norm(input, running_mean, running_var, None, None, True, momentum, eps)
        others = [axis for axis in range(input.dim()) if axis != 1]
        mean, var = input.mean(others), input.var(others, correction=0)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean, running_var
    shape = [1, -1] + [1] * (input.dim() - 2)
    result = (input - mean.view(shape)) * (var.view(shape) + eps).rsqrt()
    if weight is not None:
        result = result * weight.view(shape)
    return result if bias is None else result + bias.view(shape)
