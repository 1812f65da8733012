"""The gradient noise scale: the batch size at which noise and signal of a gradient are equal."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost

Array = NDArray[np.float64]
FEWEST = 3
"""Batches from which an interval can be made."""


@measure_named("noise-scale", unit="examples", cost=Cost(gradients=2))
def noise_scale(objective: Objective) -> Reading:
    """Tr Σ / ‖G‖², with G the mean gradient of all examples that could be drawn and Σ the covariance of one example's.

    From the gradients of two batch sizes, that of the batches b and that of all N examples: E‖∇L_b‖² = ‖G‖² + tr Σ/b
    and E‖∇L_N‖² = ‖G‖² + tr Σ/N, solved for unbiased estimates of ‖G‖² and tr Σ, which are in the details. Their
    ratio is about the batch size from which larger batches save few steps (``critical_batch_size``). The 95 % interval
    is Fieller's, of a ratio, with the covariance of both estimates by leaving out one batch at a time. Where ‖G‖²
    hardly differs from zero, it is wider than it need be, and where it does not, it has no upper end (``None``). One
    gradient is spent beyond that of the loss.

    Reference:
        McCandlish, Kaplan, Amodei et al. 2018, arXiv 1812.06162, eq. 2.8, and A.2 and A.3 of its appendix; Fieller
        1954, "Some problems in interval estimation".
    """
    whole, dot = objective.gradient, objective.shards.dot
    # One read a batch, for which a GPU waits.
    parts = objective.by_batch(
        lambda part: (
            part.total_weight,
            *torch.stack([dot(part.gradient, part.gradient), dot(part.gradient, whole)]).tolist(),
        )
    )
    if len(parts) < 2:
        reason = "one batch says nothing about the spread of gradients; use smaller batches"
        return Reading(math.nan, details={"undefined": reason})
    weights, squares, products = (np.asarray(column) for column in zip(*parts, strict=True))
    sizes = weights / weights.sum() * objective.num_examples
    norm = float(dot(whole, whole))
    signal, noise = _solved(sizes, squares, norm)
    details: dict[str, object] = {
        "gradient_squared": signal,
        "covariance_trace": noise,
        "batches": len(parts),
    }
    if signal <= 0:
        reason = "the gradient does not differ from zero beside its noise; use more examples"
        return Reading(math.nan, details={**details, "undefined": reason})
    value = noise / signal
    details |= {"critical_batch_size": value}
    if len(parts) >= FEWEST:
        covariance = _jackknife(sizes, squares, products, norm)
        low, high = fieller(noise, signal, covariance, len(parts) - 1)
        details |= {"interval_95": [low, high]}
    return Reading(
        value, _error(value, signal, covariance) if len(parts) >= FEWEST else None, details=details
    )


def _solved(sizes: Array, squares: Array, norm: float) -> tuple[float, float]:
    """‖G‖² and tr Σ from the squared norms of the batches' gradients and of the whole one.

    With weights b/N the mean of E‖∇L_b‖² is ‖G‖² + tr Σ · m/N for m batches, of whatever sizes.
    """
    count, total = len(sizes), sizes.sum()
    noise = (float(sizes @ squares) / total - norm) * total / (count - 1)
    return float(norm - noise / total), float(noise)


def _jackknife(sizes: Array, squares: Array, products: Array, norm: float) -> Array:
    """The covariance ``(2, 2)`` of tr Σ and ‖G‖², each computed again without one batch."""
    total, count = sizes.sum(), len(sizes)
    left = []
    for k in range(count):
        rest = total - sizes[k]
        # ‖(N g − b g_b) / (N − b)‖², from inner products.
        without = (
            total**2 * norm - 2 * total * sizes[k] * products[k] + sizes[k] ** 2 * squares[k]
        ) / rest**2
        signal, noise = _solved(np.delete(sizes, k), np.delete(squares, k), float(without))
        left.append((noise, signal))
    spread = np.asarray(left) - np.mean(left, axis=0)
    covariance: Array = (count - 1) / count * spread.T @ spread
    return covariance


def fieller(above: float, below: float, covariance: Array, freedom: int) -> tuple[float, float | None]:
    """The 95 % interval of a ratio that is not negative, of two estimates with a covariance ``(2, 2)``.

    Those ratios r for which ``above − r · below`` is within Student's t of zero; without an upper end where the
    denominator is.
    """
    t = float(stdtrit(freedom, 0.975)) ** 2
    a = below**2 - t * covariance[1, 1]
    b = above * below - t * covariance[0, 1]
    c = above**2 - t * covariance[0, 0]
    root = math.sqrt(max(0.0, b**2 - a * c))
    if a > 0:
        return float(max(0.0, (b - root) / a)), float((b + root) / a)
    # The ratios outside of two roots, or all: from the upper root on, where the estimate is above it.
    upper = (b - root) / a if a < 0 and root > 0 else 0.0
    return (float(upper) if 0 < upper <= above / below else 0.0), None


def _error(value: float, below: float, covariance: Array) -> float:
    """The standard error of the ratio to first order."""
    slope = np.array([1.0, -value]) / below
    return float(np.sqrt(slope @ covariance @ slope))
