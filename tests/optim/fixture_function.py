"""A function of three numbers at a point where the direction of every published rule is known to ten digits.

``f(w) = ½ Σ hᵢ wᵢ² + w₁w₂w₃ + ¼ Σ wᵢ⁴`` with h = (1, 4, 9), at w = (1, −½, ¼), for ρ = 0.1. The directions were
computed once, apart from this code.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from landscape.optim import SharpnessAware

POINT = (1.0, -0.5, 0.25)
LOSS = 1.4228515625
GRADIENT = (1.875, -1.875, 1.765625)


def value(w: Tensor) -> Tensor:
    h = torch.tensor([1.0, 4.0, 9.0], dtype=w.dtype)
    return 0.5 * (h * w**2).sum() + w.prod() + 0.25 * (w**4).sum()


def in_numpy(w: np.ndarray) -> tuple[float, np.ndarray]:
    """The same function written out in numpy, and its gradient, for rules that are re-typed there."""
    h, others = np.array([1.0, 4.0, 9.0]), np.array([w[1] * w[2], w[0] * w[2], w[0] * w[1]])
    return float(0.5 * h @ w**2 + w[0] * w[1] * w[2] + 0.25 * (w**4).sum()), h * w + others + w**3


def step(make: Callable[[torch.optim.Optimizer], SharpnessAware]) -> tuple[Tensor, SharpnessAware]:
    """The direction that one step from the point hands to plain gradient descent, and the optimizer."""
    w = torch.tensor(POINT, dtype=torch.float64, requires_grad=True)
    optimizer = make(torch.optim.SGD([w], lr=1.0))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = value(w)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == LOSS
    handed = torch.tensor(POINT, dtype=torch.float64) - w.detach()
    torch.testing.assert_close(handed, w.grad, rtol=0, atol=1e-15)
    return handed, optimizer


def assert_is(
    make: Callable[[torch.optim.Optimizer], SharpnessAware],
    rule: Callable[[np.ndarray, Callable[[np.ndarray], tuple[float, np.ndarray]]], np.ndarray],
) -> None:
    """The direction at the point is that of a rule in numpy, and neither the gradient there nor SAM's."""
    handed, expected = step(make)[0].numpy(), rule(np.array(POINT), in_numpy)
    np.testing.assert_allclose(handed, expected, rtol=1e-10)
    sam = (2.0753353732, -2.0865700429, 2.1855528488)
    assert min(np.linalg.norm(expected - np.array(other)) for other in (GRADIENT, sam)) > 1e-3


def close(direction: Tensor, expected: tuple[float, float, float]) -> bool:
    return torch.allclose(direction, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
