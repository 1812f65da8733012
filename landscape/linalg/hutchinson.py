"""The trace of a symmetric operator from random quadratic forms."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.isolation.precision import full_precision
from landscape.linalg.interchange import Operator, as_operator

# Probes before the first look at the standard error: one estimated from fewer stops far too early.
MIN_PROBES = 16
# Memory for one block of probes.
BLOCK_BYTES = 1 << 28

Progress = Callable[[int, float, float], None]
"""Called with the number of draws so far, the estimate and its standard error."""


@dataclass(frozen=True)
class TraceEstimate:
    """A mean of independent draws with its standard error.

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


def mean_of_draws(
    draw: Callable[[range], Tensor],
    *,
    block: int,
    limit: int,
    minimum: int,
    tolerance: float,
    offset: float = 0.0,
    scale: float = 0.0,
    on_step: Progress | None = None,
) -> TraceEstimate:
    """``offset`` plus the mean of independent draws as a trace estimate.

    ``draw(numbers)`` returns the draws of those numbers, ``(m,)`` in float64, on any device.

    Stops when the standard error is at most ``tolerance`` times the larger of the estimate's magnitude and ``scale``,
    checked after each block from ``minimum`` draws on; never on the change of the mean, which is small by chance.
    """
    samples: list[float] = []
    value = error = math.nan
    converged = False
    while len(samples) < limit:
        first = len(samples)
        samples += draw(range(first, min(first + block, limit))).tolist()
        value = offset + float(np.mean(samples))
        error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples)) if len(samples) > 1 else math.inf
        if on_step is not None:
            on_step(len(samples), value, error)
        converged = error <= tolerance * max(abs(value), scale)
        if (converged and len(samples) >= minimum) or math.isnan(value):
            break
    return TraceEstimate(value, error, torch.tensor(samples, dtype=torch.float64, device="cpu"), converged)


@full_precision()
def hutchinson(
    operator: Operator,
    *,
    tolerance: float = 0.02,
    max_probes: int = 400,
    generator: torch.Generator,
    block: int = 8,
    on_step: Progress | None = None,
) -> TraceEstimate:
    """Tr A ≈ (1/m) Σ vⱼᵀ A vⱼ with Rademacher probes vⱼ; unbiased, with variance 2 Σ_{i≠k} A²ᵢₖ / m.

    Probes go through the operator ``block`` at a time, so that an operator that builds something costly
    once a call (the graph of a gradient) builds it once a block; one that keeps it takes fewer at once.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        tolerance: Stops when the standard error is at most ``tolerance``·|estimate|, checked after each
            block and never before :data:`MIN_PROBES` probes.
        max_probes: The most probes; beyond them the estimate is not converged.
        generator: Draws the seed of the probes.
        block: Probes a product; fewer where n is so large that they would not fit in memory.
        on_step: Called with the number of probes, the estimate and its standard error after every block.

    Reference:
        Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989; the variance is
        Avron and Toledo, J. ACM 58(2), 2011, lemma 9.
    """
    a, draws = as_operator(operator), Draws.of(generator)

    def forms(numbers: range) -> Tensor:
        parts, first = list[Tensor](), numbers.start
        while first < numbers.stop:
            count = len(numbers) if a.at_once is None else a.at_once()
            probes = a.rademacher(draws, range(first, min(first + count, numbers.stop)))
            parts.append(a.dot(probes, a @ probes))
            first += count
        return torch.cat(parts)

    width = max(1, min(block, BLOCK_BYTES // max(1, 4 * a.dimension)))
    return mean_of_draws(
        forms, block=width, limit=max_probes, minimum=MIN_PROBES, tolerance=tolerance, on_step=on_step
    )
