"""How far rounding may have moved a gradient, estimated on a few examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.errors import ProcessFailed, is_out_of_memory
from landscape.objective.batch import Batch, first_examples
from landscape.objective.differences import EXAMPLES, ROUNDING, is_small, loss_in
from landscape.objective.risk import Risk
from landscape.objective.sketches import sketched_slopes
from landscape.reductions import exact_dtype, norm

# Roundings that a gradient is long, at least, if these need not be known better than to a factor.
CERTAIN = 1e3


@dataclass(frozen=True)
class LastBits:
    """How far the gradient of a few examples moves with the last bit of every weight.

    Attributes:
        here: The sketches of that gradient.
        rounding: The norm of the difference; in double precision an estimate from the norm of the gradient.
    """

    here: Sequence[Tensor]
    rounding: float


def last_bits(risk: Risk, batch: Batch) -> LastBits | None:
    """The first of the two estimates of :func:`gradient_rounding`; ``None`` if it cannot be computed.

    Args:
        risk: Network and loss, standing at the point.
        batch: On the network's device.
    """
    part, replica = first_examples(batch, EXAMPLES), risk.replica
    try:
        here = sketched_slopes(risk.forward(part)[0], replica.parameters)
        if replica.dtype == torch.float64:
            return LastBits(here, ROUNDING * _size(risk, here))
        return LastBits(here, _moved(risk, part, here, replica.dtype))
    except Exception as failure:  # whatever a network raises on a few examples
        if is_out_of_memory(failure) or isinstance(failure, ProcessFailed):
            raise
        return None


def gradient_rounding(risk: Risk, batch: Batch, length: float, bits: LastBits | None) -> float | None:
    """The norm of the rounding errors in the gradient of a few examples; ``None`` if that cannot be computed.

    In single precision it is how far the gradient moves with the last bit of every weight. Where that is not small
    beside the gradient, the difference to float64 replaces it, except in large networks, for the memory that it takes.

    Args:
        risk: Network and loss, standing at the point.
        batch: On the network's device.
        length: The norm of the gradient of all data.
        bits: The result of :func:`last_bits` there.
    """
    if bits is None:
        return None
    replica = risk.replica
    is_exact = replica.dtype == torch.float64
    has_float64 = not is_exact and exact_dtype(replica.device) == torch.float64
    if replica.shards.all(length > CERTAIN * bits.rounding or not (is_small(risk) and has_float64)):
        return bits.rounding
    try:
        return _moved(risk, first_examples(batch, EXAMPLES), bits.here, torch.float64)
    except Exception as failure:  # whatever a network raises in float64
        if is_out_of_memory(failure) or isinstance(failure, ProcessFailed):
            raise
        return None


def _moved(risk: Risk, part: Batch, here: Sequence[Tensor], dtype: torch.dtype) -> float:
    """The distance of a gradient to that in another precision, or with the last bits of the weights moved."""
    replica = risk.replica
    value, standing = loss_in(risk, part, dtype)
    leaves = [p.detach().to(dtype, copy=True) for p in replica.parameters]
    for k, leaf in enumerate(leaves if dtype == replica.dtype else []):
        _move_last_bit(leaf, k)
    for leaf in leaves:
        leaf.requires_grad_()
    there = standing(leaves, lambda: sketched_slopes(value(leaves), leaves))
    return _size(risk, [a - b for a, b in zip(here, there, strict=True)])


def _size(risk: Risk, sketches: Sequence[Tensor]) -> float:
    squares = torch.stack([norm(each) for each in sketches]).square().sum()
    return float(risk.replica.shards.total(squares).sqrt())


def _move_last_bit(leaf: Tensor, number: int) -> None:
    """Multiplies every entry by 1 ± the precision of its type."""
    signs = Draws(0).fold(number).signs(1, leaf.numel(), like=leaf)[0].view(leaf.shape)
    leaf.addcmul_(leaf, signs, value=torch.finfo(leaf.dtype).eps)
