"""The base optimizers: torch's own, with the defaults of the sharpness-aware papers."""

from collections.abc import Iterable

import torch
from torch import Tensor


def sgd(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum.

    Args:
        parameters: What is optimized.
        lr: Learning rate.
        momentum: Heavy-ball factor.
        weight_decay: L2 penalty, coupled: multiplied by the learning rate and seen by the momentum.
        nesterov: Whether the momentum looks ahead.
    """
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)


def adamw(
    parameters: Iterable[Tensor],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay.

    Args:
        parameters: What is optimized.
        lr: Learning rate.
        beta1: Decay of the mean of the gradients.
        beta2: Decay of the mean of their squares.
        eps: Added to the root of the latter.
        weight_decay: Decoupled: multiplied by the learning rate only.

    Reference:
        Loshchilov, Hutter, 2019, arXiv 1711.05101.
    """
    return torch.optim.AdamW(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
