"""The trace of a symmetric operator from random quadratic forms."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.linalg.interchange import Operator, as_operator

MIN_PROBES = 16
"""Probes before the first look at the standard error: one estimated from fewer stops far too early."""

BLOCK_BYTES = 1 << 28
"""Memory for one block of probes."""


@dataclass(frozen=True)
class TraceEstimate:
    """A trace and its doubt.

    Attributes:
        value: The mean of the quadratic forms.
        standard_error: Their standard deviation over the square root of their number.
        samples: The quadratic forms vᵀAv, ``(m,)`` in float64, in the order in which they were drawn.
        converged: Whether the standard error is at most ``tolerance·|value|``.
    """

    value: float
    standard_error: float
    samples: Tensor
    converged: bool


def hutchinson(
    operator: Operator,
    *,
    tolerance: float = 0.02,
    max_probes: int = 400,
    generator: torch.Generator,
    block: int = 8,
    on_step: Callable[[int, float, float], None] | None = None,
) -> TraceEstimate:
    """Tr A ≈ (1/m) Σ vⱼᵀ A vⱼ with Rademacher probes vⱼ; unbiased, with variance 2 Σ_{i≠k} A²ᵢₖ / m.

    Probes go through the operator ``block`` at a time, so that an operator that builds something costly
    once a visit (the graph of a gradient) builds it once a block.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        tolerance: Stops when the standard error is at most ``tolerance``·|estimate|, looked at after each
            block and never before :data:`MIN_PROBES` probes.
        max_probes: Gives up, with ``converged=False``, after so many.
        generator: Draws the probes.
        block: Probes a product; fewer where n is so large that they would not fit.
        on_step: Told the number of probes, the estimate and its standard error after every block.

    Reference:
        Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989; the variance is
        Avron and Toledo, J. ACM 58(2), 2011, lemma 9.
    """
    a = as_operator(operator)
    width = max(1, min(block, BLOCK_BYTES // max(1, 4 * a.dimension)))
    samples = torch.empty(0, dtype=torch.float64)
    value = error = math.nan
    while len(samples) < max_probes:
        probes = a.rademacher(min(width, max_probes - len(samples)), generator)
        forms = (probes.double() * (a @ probes).double()).sum(dim=0).cpu()
        samples = torch.cat([samples, forms])
        value = float(samples.mean())
        error = float(samples.std() / math.sqrt(len(samples))) if len(samples) > 1 else math.inf
        if on_step is not None:
            on_step(len(samples), value, error)
        if (len(samples) >= MIN_PROBES and error <= tolerance * abs(value)) or value != value:
            break
    return TraceEstimate(value, error, samples, error <= tolerance * abs(value))
