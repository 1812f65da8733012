"""A curve of low loss between two minima, and the plane that contains it."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed
from landscape.surfaces.barrier import barrier
from landscape.surfaces.directions import Directions, Waypoint, around, checked, located, orthonormal

_MOMENTUM = 0.9  # as in the authors' code
_SAMPLES = 21  # steps of 0.05 in t, fine enough to read a barrier off


def bezier_curve(
    objective: Objective,
    *,
    through: Sequence[Waypoint],
    steps: PositiveInt = 300,
    lr: Positive = 0.05,
    margin: float = 0.2,
    seed: Seed = 0,
) -> Directions:
    """The plane of ``φ(t) = (1 − t)² θ₁ + 2t(1 − t) w + t² θ₂``, with w chosen for a small mean loss on the curve.

    The control point w starts half-way between the two minima and follows ``steps`` stochastic gradients of
    ``E_t L(φ(t))``, with momentum 0.9 and one batch and one t a step. The curve, at 21 values of t, is the trajectory
    of the surface; the file records the losses there and the barrier on the curve.

    Reference:
        Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", 2018, arXiv:1802.10026,
        section 3.
    """
    origin = objective.point
    checked("bezier", through, objective, least=2, most=2)
    end = through[1].point.to(origin)
    control = _trained(objective, end, steps=steps, lr=lr, seed=seed)
    x, y = orthonormal(end - origin, control - origin, objective.shards)
    times = np.linspace(0, 1, _SAMPLES)
    curve = [Waypoint(f"t = {t:.2f}", on_curve(origin, control, end, t)) for t in times.tolist()]
    losses = np.array([objective.evaluate(waypoint.point)[0] for waypoint in curve])
    marks = located(objective, x, y, curve)
    return Directions(
        x=x.to(origin),
        y=y.to(origin),
        labels=(f"distance from {through[0].label} towards {through[1].label}", "distance across"),
        extent=around(marks, margin),
        markers=located(objective, x, y, [*through, Waypoint("control point", control)]),
        trajectory=marks,
        details={"curve": {"t": times.tolist(), "loss": losses.tolist(), "barrier": barrier(times, losses)}},
    )


def on_curve(start: Tensor, control: Tensor, end: Tensor, t: float) -> Tensor:
    """``(1 − t)² start + 2t(1 − t) control + t² end``."""
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _gradient(batch: Objective, *, at: Tensor) -> Tensor:
    return batch.at(at).gradient


def _trained(objective: Objective, end: Tensor, *, steps: int, lr: float, seed: int) -> Tensor:
    """The control point."""
    start, count = objective.point, len(objective.batch_sizes)
    draws = np.random.Generator(np.random.Philox(key=seed))
    control = (start + end) / 2
    velocity = torch.zeros_like(control)
    for step in range(steps):
        t = float(draws.random())
        there = on_curve(start, control, end, t)
        (slope,) = objective.by_batch(partial(_gradient, at=there), only={int(draws.integers(count))})
        velocity = _MOMENTUM * velocity + 2 * t * (1 - t) * slope.to(start)  # dφ/dw = 2t(1 − t)
        control = control - lr * velocity
        objective.ledger.tell(f"curve: step {step + 1} of {steps}", (step + 1) / steps)
    if not math.isfinite(float(objective.shards.norm(control))):
        raise InputError(
            f"the descent to a curve of low loss diverged with lr={lr}; try bezier:lr={lr / 10:g}"
        )
    return control
