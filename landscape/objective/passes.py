"""One pass over the data: the loss and accuracy at a point, or these with the gradient."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError
from landscape.isolation import twice_differentiable, without_gradients
from landscape.objective import derivatives
from landscape.objective.batches import Batch
from landscape.objective.risk import Risk


@dataclass(frozen=True)
class BatchGradients:
    """What is kept of the gradient of every batch, each ``(batches,)``: its squared norm, weight and size."""

    squared_norms: Tensor
    weights: Tensor
    sizes: Tensor


@dataclass(frozen=True)
class Value:
    """L(θ), and the fraction of examples that are right where outputs are class scores."""

    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Slope:
    """∇L(θ) ``(n,)``, and what the same pass yields besides."""

    gradient: Tensor
    value: Value
    batches: BatchGradients


def evaluated(
    risk: Risk,
    point: Tensor,
    *,
    constant: bool,
    statistics: Mapping[str, Tensor] | None = None,
    forward: Callable[[], Callable[[Any], Any]] | None = None,
) -> Value:
    """Loss and accuracy by forward passes alone; ``forward`` yields what computes the outputs at the point."""
    # Called by the first visit, when the network stands at the point, and once.
    network = functools.cache(forward) if forward is not None else None

    def visit(batch: Batch) -> list[Tensor]:
        loss, outputs, targets = risk.forward(batch, network=network() if network is not None else None)
        return [loss.double(), *risk.correct(outputs, targets)]

    with without_gradients():
        means = risk.mean(visit, at=point, constant=constant, statistics=statistics, evaluations=1)
        return _value(risk, means)


def differentiated(risk: Risk, point: Tensor, *, statistics: Mapping[str, Tensor] | None = None) -> Slope:
    """The gradient, with loss, accuracy and the norm of every batch's gradient."""
    norms: list[Tensor] = []
    risk.require_derivatives(point)
    try:
        with twice_differentiable():
            means = risk.mean(
                lambda batch: derivatives.gradient(risk, batch),
                at=point,
                statistics=statistics,
                each=lambda parts: norms.append(parts[0].double().square().sum()),
                gradients=1,
            )
    except RuntimeError as failure:
        if not str(failure).startswith("derivative for "):
            raise
        raise InputError(
            f"an operation has no derivative ({str(failure).splitlines()[0]}); replace it, or detach its argument "
            "where its derivative is to be 0"
        ) from failure
    weights, sizes = (
        torch.tensor(one, dtype=torch.float64) for one in (risk.batches.weights, risk.batches.sizes)
    )
    return Slope(means[0], _value(risk, means[1:]), BatchGradients(torch.stack(norms).cpu(), weights, sizes))


def _value(risk: Risk, means: Sequence[Tensor]) -> Value:
    """Accuracy is right labels over those that count, both whole numbers, free of the rounding of a mean."""
    weight = risk.batches.total_weight
    right, counted = (round(float(one) * weight) for one in means[1:]) if len(means) > 1 else (0, 0)
    return Value(float(means[0]), right / counted if counted else None)
