"""How far rounding may have moved a gradient, estimated on a few examples in float64."""

import torch
from torch import Tensor

from landscape.errors import ProcessFailed, is_out_of_memory
from landscape.objective.batch import Batch
from landscape.objective.differences import ROUNDING, few, is_small, loss_in_float64
from landscape.objective.risk import Risk
from landscape.objective.sketches import sketched_slopes
from landscape.reductions import exact_dtype, norm


def gradient_rounding(risk: Risk, batch: Batch) -> float | None:
    """The norm of the rounding errors in the gradient of a few examples; ``None`` without a float64 value.

    For the memory that it takes, large networks have none.
    """
    part, replica = few(batch), risk.replica
    shards = replica.shards
    if not shards.all(is_small(risk) and exact_dtype(replica.device) == torch.float64):
        return None

    def length(sketches: list[Tensor]) -> float:
        return float(shards.total(torch.stack([norm(each) for each in sketches]).square().sum()).sqrt())

    try:
        here = sketched_slopes(risk.forward(part)[0], replica.parameters)
        if replica.dtype == torch.float64:
            return ROUNDING * length(here)
        value, standing = loss_in_float64(risk, part)
        leaves = [p.detach().double().requires_grad_() for p in replica.parameters]
        exact = standing(leaves, lambda: sketched_slopes(value(leaves), leaves))
    except Exception as failure:  # whatever a network raises on a few examples or in float64
        if is_out_of_memory(failure) or isinstance(failure, ProcessFailed):
            raise
        return None
    return length([a - b for a, b in zip(here, exact, strict=True)])
