"""Two optimizers that should be one: where each ends after a few steps from the same start."""

from collections.abc import Callable

import torch
from optim.battery import closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.optim import SharpnessAware


def end(
    make: Callable[[torch.optim.Optimizer], SharpnessAware], *layers: nn.Module, steps: int = 6
) -> Tensor:
    """The weights after some steps over SGD with momentum and weight decay."""
    model = mlp(*layers)
    optimizer = make(sgd(model))
    torch.manual_seed(5)
    for number in range(steps):
        optimizer.step(closure(optimizer, model, seed=number))
    return weights(model)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two ends are one, up to rounding."""
    return torch.allclose(a, b, rtol=1e-12, atol=1e-14)
