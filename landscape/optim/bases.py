"""The base optimizers, with options that a name can set."""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError, UsageError
from landscape.optim.combined_base import Combined
from landscape.registry.extras import install


def sgd(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """Torch's SGD with the momentum and the (coupled) weight decay of the sharpness-aware papers."""
    options: dict[str, Any] = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    return torch.optim.SGD(tensors := list(parameters), lr=lr, fused=_fused(tensors), **options)


def adamw(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> torch.optim.AdamW:
    """Torch's AdamW, with its pair ``betas`` as two options that a name can set."""
    options: dict[str, Any] = {"betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}
    return torch.optim.AdamW(tensors := list(parameters), lr=lr, fused=_fused(tensors), **options)


def muon(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    weight_decay: float = 0.1,
) -> torch.optim.Optimizer:
    """Torch's Muon for matrices, and AdamW for the other tensors, which Muon does not take.

    Both have one learning rate and one weight decay, which ``adjust_lr_fn="match_rms_adamw"`` makes of one size.

    Raises:
        UsageError: There is no matrix, or torch has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(f"base=muon needs torch 2.9 or later, and this is {torch.__version__}")
    tensors = list(parameters)
    matrices, others = ([p for p in tensors if (p.ndim == 2) is of_two] for of_two in (True, False))
    if not matrices:
        raise UsageError("muon orthogonalises matrices, and no parameter is one; use adamw")
    options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    first = torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw", **options)
    return Combined(first, adamw(others, lr=lr, weight_decay=weight_decay)) if others else first


def schedulefree_sgd(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    warmup_steps: int = 0,
) -> torch.optim.Optimizer:
    """SGDScheduleFree of the package schedulefree, with the weight decay of :func:`sgd`."""
    options: dict[str, Any] = {
        "momentum": momentum,
        "weight_decay": weight_decay,
        "warmup_steps": warmup_steps,
    }
    return _schedule_free("SGDScheduleFree", parameters, lr=lr, **options)


def schedulefree_adamw(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    warmup_steps: int = 0,
) -> torch.optim.Optimizer:
    """AdamWScheduleFree of the package schedulefree, with the weight decay of :func:`adamw`."""
    options: dict[str, Any] = {"betas": (beta1, beta2), "eps": eps, "warmup_steps": warmup_steps}
    return _schedule_free("AdamWScheduleFree", parameters, lr=lr, weight_decay=weight_decay, **options)


def _schedule_free(kind: str, parameters: Iterable[Tensor], **options: Any) -> torch.optim.Optimizer:
    try:
        package = importlib.import_module("schedulefree")
    except ImportError as failure:
        raise InputError(
            f"a schedule-free base needs the package schedulefree: {install('schedulefree')}"
        ) from failure
    built: Any = getattr(package, kind)(list(parameters), **options)
    built.train()  # the mode in which it steps
    optimizer: torch.optim.Optimizer = built
    return optimizer


def _fused(parameters: Sequence[Tensor]) -> bool | None:
    """Whether one kernel updates all weights: on CUDA, where it also skips a step without asking the host."""
    return True if all(parameter.is_cuda for parameter in parameters) else None
