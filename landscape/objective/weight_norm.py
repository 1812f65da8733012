"""Weight normalisation by its formula: torch's fused kernel has a wrong second derivative."""

import functools

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm


def use_formula(model: nn.Module) -> list[str]:
    """Makes the weight normalisations of a model, which is changed, compute w = g v/‖v‖ by elementary operations.

    The backward pass of ``torch._weight_norm`` saves ‖v‖ as a constant, so that its derivative forgets that the
    norm depends on v. Both of torch's own forms are covered: the parametrization and the older hook.

    Returns:
        The names of the tensors that are normalised, such as ``0.weight``.
    """
    names = []
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                hook.compute_weight = functools.partial(_of_hook, hook)  # type: ignore[method-assign]
                names.append(f"{name}.{hook.name}".lstrip("."))
        if isinstance(module, _WeightNorm):
            module.forward = functools.partial(_of_parametrization, module)  # type: ignore[method-assign]
            names.append(name.replace("parametrizations.", "").rpartition(".")[0])
    return names


def _of_hook(hook: WeightNorm, module: nn.Module) -> Tensor:
    return _normalised(getattr(module, f"{hook.name}_g"), getattr(module, f"{hook.name}_v"), hook.dim)


def _of_parametrization(module: _WeightNorm, weight_g: Tensor, weight_v: Tensor) -> Tensor:
    return _normalised(weight_g, weight_v, module.dim)


def _normalised(length: Tensor, direction: Tensor, dim: int) -> Tensor:
    """``g v/‖v‖`` with the norm over all dimensions but ``dim``; over all of them if it is −1."""
    others = [k for k in range(direction.ndim) if k != dim % direction.ndim]
    norm: Tensor = (
        torch.linalg.vector_norm(direction)
        if dim == -1
        else torch.linalg.vector_norm(direction, dim=others, keepdim=True)
    )
    return direction * (length / norm)
