"""The largest rise of the loss that projected gradient ascent finds within a ball or an ellipsoid."""

import torch
from torch import Tensor

from landscape.objective import Objective

# Length of the whole path in radii: the sphere is reached after 1, and the rest is left to turn on it.
STRIDE = 2.5


def rises(
    objective: Objective, *, rho: float, steps: int, scale: Tensor | None = None
) -> tuple[float, float | None]:
    """The rise of the loss at the one-step point, and the largest rise visited by the ascent.

    The ascent runs in u = T⁻¹ε, where the region is the ball ‖u‖ ≤ ρ and the gradient is T∇L: normalised steps of
    length 2.5ρ/``steps``, each projected back onto the ball. The one-step point is ε = ρ T (T∇L)/‖T∇L‖. T is the
    diagonal matrix of ``scale`` ``(n,)``, or the identity. At a stationary point, where there is no direction of
    ascent, the second rise is ``None``.
    """
    t: Tensor | float = 1.0 if scale is None else scale
    centre, slope = objective.point, objective.gradient * t
    norm = objective.shards.norm
    if float(norm(slope)) == 0:
        return 0.0, None
    one_step = objective.evaluate(centre + _step(slope, rho, norm(slope)) * t)[0] - objective.loss
    best = one_step
    u = torch.zeros_like(centre)
    for step in range(1, steps + 1):
        u += _step(slope, STRIDE * rho / steps, norm(slope))
        u *= (rho / norm(u)).clamp_(max=1.0)
        if step == steps:  # no gradient is needed at the last point
            best = max(best, objective.evaluate(centre + u * t)[0] - objective.loss)
        else:
            there = objective.at(centre + u * t)
            slope = there.gradient * t
            best = max(best, there.loss - objective.loss)
    return one_step, best


def _step(gradient: Tensor, length: float, norm: Tensor) -> Tensor:
    return gradient * torch.where(norm > 0, length / norm, 0.0)
