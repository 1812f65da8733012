"""The path norm: the length of the products of weights along all paths through a network."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase  # what all batch and instance norms derive from

from landscape.errors import UsageError
from landscape.measures.reading import Reading, measure_named
from landscape.objective import BatchLoss, Objective
from landscape.objective.batch_norm import stored_layers
from landscape.records.estimate import Cost
from landscape.reductions import exact, exact_dtype


@measure_named(
    "path-norm",
    unit="1",
    # Of one example, whatever the data.
    cost=lambda objective, _: Cost(evaluations=4 / objective.num_examples),
)
def path_norm(objective: Objective) -> Reading:
    """√(Σ over paths of the product of squared weights), from inputs and biases to all outputs; exact, without data.

    One forward pass of ones with all weights squared, in float64, gives the sum, which is ``squared`` in the details.
    Batch norm is the affine map of its stored statistics, whose two coefficients are squared as well, so that folding
    it into the convolution before changes nothing. Means over pixels are coefficients, not weights, and stay as they
    are. A sum over paths exists where a network with non-negative weights is affine in non-negative inputs, as with
    ReLU and averages; with anything else (GELU, attention, layer norm, a maximum over pixels) it is undefined, which is
    found out at three inputs.

    Raises:
        UsageError: Processes divide the weights, or the loss hides the inputs.

    Reference:
        Neyshabur, Tomioka and Srebro 2015, arXiv 1503.00036, section 4 (biases and batch norm are not in it); the
        forward pass is eq. 44 of Jiang et al. 2020, arXiv 1912.02178, whose value is the square.
    """
    if objective.shards.gathering is not None:
        raise UsageError("path-norm needs whole weights; measure it without --shard-weights")
    norms = [module for module in objective.network.modules() if isinstance(module, _NormBase)]
    if any(norm.training or norm.running_mean is None for norm in norms):
        reason = "normalisation by the statistics of each batch is no weight; use batch_norm=stored"
        return Reading(math.nan, details={"undefined": reason})
    (sums,) = objective.by_batch(lambda first: first.average(_sums)[0].tolist(), only={0})
    zero, one, two, both = sums
    if not math.isfinite(both):
        return Reading(math.nan, details={"undefined": "the sum over paths leaves double precision"})
    # Rounding aside: of a network that is nearly affine there, the value is nearly the sum over paths as well.
    if abs(one + two - zero - both) > math.sqrt(torch.finfo(exact_dtype(objective.point.device)).eps) * both:
        reason = (
            "the network is not affine in its inputs where weights and inputs are not negative, so that its outputs "
            "are not sums over paths"
        )
        return Reading(math.nan, details={"undefined": reason})
    return Reading(math.sqrt(both), details={"squared": both})


def _sums(risk: Any, batch: Any) -> list[Tensor]:
    """The sums of the outputs ``(4,)`` with squared weights at zeros, at two inputs that add up to ones, and there."""
    inputs = batch[0] if isinstance(batch, tuple) and not isinstance(risk.loss, BatchLoss) else None
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise UsageError(
            "path-norm needs (inputs, targets) batches whose inputs are one tensor of real numbers"
        )
    dtype = exact_dtype(inputs.device)
    ones = torch.ones(1, *inputs.shape[1:], dtype=dtype, device=inputs.device)
    share = torch.linspace(0, 1, ones.numel(), dtype=dtype, device=inputs.device).view(ones.shape)
    network = risk.replica.model
    risk.engine.ledger.counts["evaluations"] += 4  # of one example each
    squared = _squared(network)
    with torch.no_grad():
        points = (0 * ones, share, 1 - share, ones)
        return [torch.stack([functional_call(network, squared, (x,)).sum() for x in points])]


def _squared(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers with squared weights, and squared coefficients of normalisation by stored statistics."""
    values = {name: exact(buffer) for name, buffer in network.named_buffers() if buffer.is_floating_point()}
    values |= {name: exact(weight.detach()).square() for name, weight in network.named_parameters()}
    for name, layer in stored_layers(network).items():
        prefix = f"{name}." if name else ""
        mean, variance = (values[prefix + statistic] for statistic in ("running_mean", "running_var"))
        squares = {"running_mean": -mean.square(), "running_var": (variance + layer.eps).square() - layer.eps}
        if layer.affine:
            slope = exact(layer.weight.detach()) * (variance + layer.eps).rsqrt()
            offset = exact(layer.bias.detach()) - mean * slope
            squares = {
                "running_mean": torch.zeros_like(mean),
                "running_var": torch.ones_like(mean) - layer.eps,
            }
            squares |= {"weight": slope.square(), "bias": offset.square()}
        values |= {prefix + part: square for part, square in squares.items()}
    return values
