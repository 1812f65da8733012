"""One pass over the data: the loss and accuracy at a point, or these with the gradient."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from landscape.errors import InputError, ProcessFailed, UsageError, is_out_of_memory
from landscape.objective.batch import Batch
from landscape.objective.batches import Batches
from landscape.objective.engine import Statistics
from landscape.objective.mean import Mean
from landscape.objective.misfits import FAILURES, misfit
from landscape.objective.products import gradient
from landscape.objective.risk import Risk
from landscape.reductions import exact, numbers


@dataclass(frozen=True)
class BatchGradients:
    """The squared norm of the gradient of every batch, its weight and its size, each ``(batches,)``."""

    squared_norms: Tensor
    weights: Tensor
    sizes: Tensor


class Value(NamedTuple):
    """L(θ), and the fraction of examples that are right if outputs are class scores."""

    loss: float
    accuracy: float | None


class Slope(NamedTuple):
    """∇L(θ) ``(n,)``, and what the same pass yields besides: the batches' gradients unless they were not requested."""

    gradient: Tensor
    value: Value
    batches: BatchGradients | None


def evaluated(
    mean: Mean,
    point: Tensor,
    *,
    constant: bool,
    statistics: Statistics | None,
    forward: Callable[[], Callable[[Any], Any]] | None = None,
) -> Value:
    """Loss and accuracy by forward passes alone; ``forward`` yields what computes the outputs at the point."""
    # The first visit calls it, when the network stands at the point; the others reuse its result.
    network = (lambda: None) if forward is None else functools.cache(forward)

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        try:
            loss, outputs, targets = risk.forward(batch, network=network())
        except (UsageError, InputError, ProcessFailed):
            raise
        except FAILURES as failure:  # the first batch fits; this one may not
            if forward is not None or is_out_of_memory(failure):
                raise
            raise InputError(misfit(risk.replica.model, risk.loss, batch, failure)) from failure
        return [exact(loss), *risk.correct(outputs, targets)]

    means = mean.over(
        visit, at=point, constant=constant, statistics=statistics, derivatives=False, evaluations=1
    )
    return _value(mean.risk.batches, numbers(*means))


def differentiated(
    mean: Mean, point: Tensor, *, statistics: Statistics | None, by_batch: bool = True
) -> Slope:
    """The gradient, with loss, accuracy and, ``by_batch``, the norm of every batch's gradient."""
    norms, shards = list[Tensor](), mean.risk.replica.shards
    try:
        means = mean.over(
            gradient,
            at=point,
            statistics=statistics,
            each=(lambda parts: norms.append(shards.dot(parts[0], parts[0]))) if by_batch else None,
            gradients=1,
        )
    except RuntimeError as failure:
        if not str(failure).startswith("derivative for "):
            raise
        raise InputError(
            f"an operation has no derivative ({str(failure).splitlines()[0]}); replace it, or detach its argument "
            "where its derivative is to be 0"
        ) from failure
    batches = mean.risk.batches
    weights, sizes = (
        torch.tensor(n, dtype=torch.float64, device="cpu") for n in (batches.weights, batches.sizes)
    )
    slope, *parts = means
    if not by_batch:
        return Slope(slope, _value(batches, numbers(*parts)), None)
    values = numbers(*parts, *norms)
    squares = torch.zeros(len(batches), dtype=torch.float64, device="cpu")
    here = batches.division.here
    squares[here.start : here.stop] = torch.tensor(values[len(parts) :], dtype=torch.float64, device="cpu")
    mean.group.add([squares])  # to zeros in the other processes, which changes no bit
    return Slope(slope, _value(batches, values[: len(parts)]), BatchGradients(squares, weights, sizes))


def _value(batches: Batches, means: Sequence[float]) -> Value:
    # Right labels over those that count, both whole numbers, free of the rounding of a mean.
    right, counted = (round(mean * batches.total_weight) for mean in means[1:]) if len(means) > 1 else (0, 0)
    return Value(means[0], right / counted if counted else None)
