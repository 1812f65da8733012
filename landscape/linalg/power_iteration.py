"""The eigenvalue of largest magnitude by power iteration."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.isolation.precision import full_precision
from landscape.linalg.interchange import Operator, as_operator
from landscape.reductions import numbers


@dataclass(frozen=True)
class Eigenpair:
    """An approximate eigenpair ``A v ≈ λ v`` with ‖v‖ = 1.

    Attributes:
        value: The Rayleigh quotient λ = vᵀAv, signed.
        vector: v, ``(n,)``.
        residual: ‖Av − λv‖. Some eigenvalue of A lies within this distance of λ; that it is the dominant
            one is likely from a random start but not proved by the residual.
        iterations: Products spent.
        converged: Whether the residual is at most ``tolerance·|λ|``.
    """

    value: float
    vector: Tensor
    residual: float
    iterations: int
    converged: bool


@full_precision()
def power_iteration(
    operator: Operator,
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    generator: torch.Generator,
    start: Tensor | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Eigenpair:
    """The dominant eigenpair of a symmetric operator: v ← Av/‖Av‖ from a random start, or from ``start``.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        tolerance: Stops when ‖Av − λv‖ ≤ ``tolerance``·|λ|.
        max_iterations: The most products; beyond them the pair is not converged.
        generator: Draws the seed of the start.
        start: A good first vector ``(n,)``, such as an eigenvector of a nearby operator; a small random part is
            added, so that no eigenvector is orthogonal to it.
        on_step: Called with the iteration, λ and the residual relative to |λ| after every product.

    Returns:
        The pair; λ = 0 for the zero operator, NaN (not converged) if a product is not finite.

    Reference:
        Golub and Van Loan, "Matrix Computations", 4th ed., section 8.2.1.
    """
    a = as_operator(operator)
    vector = a.start(start, Draws.of(generator))
    value = residual = math.nan
    for iteration in range(1, max_iterations + 1):
        image = a @ vector
        quotient = a.dot(vector, image)
        value, residual, size = numbers(quotient, a.distance(image, vector, quotient), a.norm(image))
        if on_step is not None:
            on_step(iteration, value, residual / abs(value) if value else math.nan)
        if not math.isfinite(value + residual):
            return Eigenpair(math.nan, vector, math.nan, iteration, False)
        if residual <= tolerance * abs(value):
            break
        torch.div(image, size, out=vector)  # in place, so that no third vector is there
        del image
    return Eigenpair(value, vector, residual, iteration, residual <= tolerance * abs(value))
