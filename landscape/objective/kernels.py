"""Layers whose kernels have no second derivative, or a wrong one, computed by operations that have it."""

import functools
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode


def use_own_statistics(model: nn.Module) -> list[str]:
    """Lets the synchronised batch norms of a model, which is changed, see this process's batch; returns their names."""
    # In training mode they wait for all processes, which need not evaluate the same, and have no second derivative.
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.SyncBatchNorm)}
    for layer in layers.values():
        layer.forward = functools.partial(nn.modules.batchnorm._BatchNorm.forward, layer)  # type: ignore[method-assign]
    return list(layers)


def use_formula_of_weight_norm(model: nn.Module) -> list[str]:
    """Lets weight normalisations, in place, compute w = g v/‖v‖ by elementary operations; returns their names."""
    # The backward pass of torch._weight_norm saves ‖v‖ as a constant: its own derivative lacks that ‖v‖ depends on v.
    names = []
    for name, module in model.named_modules():
        # The older of torch's two forms is a hook, the newer one a parametrization.
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                hook.compute_weight = functools.partial(_of_hook, hook)  # type: ignore[method-assign]
                names.append(f"{name}.{hook.name}".lstrip("."))
        if isinstance(module, _WeightNorm):
            module.forward = functools.partial(_normalised, dim=module.dim)  # type: ignore[method-assign]
            names.append(name.replace("parametrizations.", "").rpartition(".")[0])
    return names


def switch_caches_off(model: nn.Module) -> None:
    """Keeps networks of Transformers from storing keys and values for the next token, which nothing here reads."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if type(module).__module__.startswith("transformers.") and getattr(config, "use_cache", False):
            config.use_cache = False


def _of_hook(hook: WeightNorm, module: nn.Module) -> Tensor:
    return _normalised(getattr(module, f"{hook.name}_g"), getattr(module, f"{hook.name}_v"), dim=hook.dim)


def _normalised(length: Tensor, direction: Tensor, *, dim: int) -> Tensor:
    """``g v/‖v‖`` with the norm over all dimensions but ``dim``; over all of them if it is −1, as torch has it."""
    others = None if dim == -1 else [k for k in range(direction.ndim) if k != dim % direction.ndim]
    norm: Tensor = torch.linalg.vector_norm(direction, dim=others, keepdim=others is not None)
    return direction * (length / norm)


class HeldPadding(TorchFunctionMode):
    """Inside, lookups of the padding row of an embedding yield a constant, as double backward treats that row.

    The backward pass of an embedding with ``padding_idx`` leaves the row out, so that the Hessian has zeros there,
    while a forward derivative, or a difference of gradients, would move it. The constant is the row of the moment; when
    it is entered again, those of the first time, for lookups in the same order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Tensor] = []

    def __enter__(self) -> Self:
        self._next = 0
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation; in a lookup with padding the padded places are replaced."""
        out = function(*args, **(kwargs or {}))
        if function is not functional.embedding:
            return out
        indices, weight, padding = _lookup(*args, **(kwargs or {}))
        if padding is None:
            return out
        row = padding % weight.shape[0]
        if self._next == len(self._rows):
            self._rows.append(weight[row].detach().clone())
        self._next += 1
        return torch.where((indices == row).unsqueeze(-1), self._rows[self._next - 1], out)


def _lookup(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, *rest: object, **more: object
) -> tuple[Tensor, Tensor, int | None]:
    """The arguments of ``functional.embedding``, however they were passed."""
    return input, weight, padding_idx
