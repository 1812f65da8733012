"""The largest rise of the loss that projected gradient ascent finds within a ball or an ellipsoid."""

from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.objective import Objective

# Length of the whole path in radii: the sphere is reached after 1, and the rest is left to turn on it.
STRIDE = 2.5


def rises(
    objective: Objective, *, rho: float, steps: int, scale: Tensor | None = None
) -> tuple[float, float | None]:
    """The rise of the loss at the one-step point, and the largest rise visited by the ascent.

    See :func:`ascent`. At a stationary point, where there is no direction of ascent, the second rise is ``None``.
    """
    visited = [value - objective.loss for value, _ in ascent(objective, rho=rho, steps=steps, scale=scale)]
    return (visited[0], max(visited)) if visited else (0.0, None)


def ascent(
    objective: Objective, *, rho: float, steps: int, scale: Tensor | None = None
) -> Iterator[tuple[float, float | None]]:
    """Loss and accuracy at the one-step point, and then at every point of an ascent; nothing at a stationary point.

    The ascent runs in u = T⁻¹ε, where the region is the ball ‖u‖ ≤ ρ and the gradient is T∇L: normalised steps of
    length 2.5ρ/``steps``, each projected back onto the ball. The one-step point is ε = ρ T (T∇L)/‖T∇L‖. T is the
    diagonal matrix of ``scale`` ``(n,)``, or the identity.
    """
    t: Tensor | float = 1.0 if scale is None else scale
    centre, slope = objective.point, objective.gradient * t
    norm = objective.shards.norm
    if float(norm(slope)) == 0:
        return
    yield objective.evaluate(centre + _step(slope, rho, norm(slope)) * t)
    u = torch.zeros_like(centre)
    for step in range(1, steps + 1):
        u += _step(slope, STRIDE * rho / steps, norm(slope))
        u *= (rho / norm(u)).clamp_(max=1.0)
        if step == steps:  # no gradient is needed at the last point
            yield objective.evaluate(centre + u * t)
        else:
            there = objective.at(centre + u * t)
            slope = there.gradient * t
            yield there.loss, there.accuracy


def _step(gradient: Tensor, length: float, norm: Tensor) -> Tensor:
    return gradient * torch.where(norm > 0, length / norm, 0.0)
