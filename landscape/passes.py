"""One pass over the data: the loss and accuracy at a point, or these with the gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape import derivatives
from landscape.batches import Batch
from landscape.isolation import twice_differentiable, without_gradients
from landscape.risk import Risk, correct


@dataclass(frozen=True)
class BatchGradients:
    """What is kept of the gradient of every batch: its squared norm and size, each ``(batches,)``."""

    squared_norms: Tensor
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


def evaluated(risk: Risk, point: Tensor, *, constant: bool) -> Value:
    """Loss and accuracy by forward passes alone."""

    def visit(batch: Batch) -> list[Tensor]:
        loss, outputs, targets = risk.forward(batch)
        return [loss.double(), *correct(outputs, targets)]

    with without_gradients():
        return _value(risk, risk.mean(visit, at=point, constant=constant, evaluations=1))


def differentiated(risk: Risk, point: Tensor) -> Slope:
    """The gradient, with loss, accuracy and the norm of every batch's gradient."""
    norms: list[Tensor] = []
    risk.require_derivatives(point)
    with twice_differentiable():
        means = risk.mean(
            lambda batch: derivatives.gradient(risk, batch),
            at=point,
            each=lambda parts: norms.append(parts[0].double().square().sum()),
            gradients=1,
        )
    sizes = torch.tensor(risk.batches.sizes, dtype=torch.float64)
    return Slope(means[0], _value(risk, means[1:]), BatchGradients(torch.stack(norms).cpu(), sizes))


def _value(risk: Risk, means: Sequence[Tensor]) -> Value:
    """Accuracy is the count it stems from over N, free of the rounding of a mean of means."""
    total = risk.batches.num_examples
    return Value(float(means[0]), round(float(means[1]) * total) / total if len(means) > 1 else None)
