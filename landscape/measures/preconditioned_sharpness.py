"""Preconditioned sharpness: the largest eigenvalue of the Hessian as an adaptive optimizer sees it."""

import math
from typing import Any

import torch
from torch import Tensor

from landscape.curvature.eigenpairs import longest_basis, start_of
from landscape.curvature.preconditioning import Preconditioner, preconditioned_hessian
from landscape.linalg import Eigenpairs, lanczos
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named("preconditioned-sharpness", unit="loss/step²")
def preconditioned_sharpness(
    objective: Objective,
    *,
    tolerance: Positive = 1e-3,
    max_products: PositiveInt = 200,
    seed: Seed = 0,
    preconditioner: Preconditioner | None = None,
    start: Tensor | None = None,
) -> Reading:
    """λ_max(P⁻½HP⁻½), algebraic, with P the matrix by which the optimizer divides its step.

    With Adam P = (1 − β₁ᵗ)(√(v/(1 − β₂ᵗ)) + ε); with SGD, and where no optimizer is known, P = I. Training with steps
    of learning rate η is unstable above a threshold, which is in the details, with the value's share of it: 2/η for
    gradient descent, (2 + 2β)/η with momentum, (2 + 2β₁)/((1 − β₁)η) for Adam.

    Args:
        objective: The point.
        tolerance: Of the residual, relative to the eigenvalue.
        max_products: The most Hessian products to spend.
        seed: Of the random part of the start.
        preconditioner: P with its threshold.
        start: The first vector ``(n,)``, such as the eigenvector of a point nearby; by default P⁻½∇L(θ).

    Reference:
        Cohen et al. 2021, arXiv 2103.00065, eq. 1 and appendix B; Cohen et al. 2022, arXiv 2207.14484, section 3.
    """
    pairs = preconditioned_pairs(
        objective, preconditioner, tolerance=tolerance, max_products=max_products, seed=seed, start=start
    )
    value = float(pairs.values[0])
    details: dict[str, object] = {"residual": float(pairs.residuals[0]), "iterations": pairs.products}
    if preconditioner is not None:
        details |= {
            "optimizer": preconditioner.optimizer,
            "threshold": preconditioner.threshold,
            "share_of_threshold": value / preconditioner.threshold,
        }
    return Reading(value, converged=pairs.converged, details=details)


def preconditioned_pairs(
    objective: Objective,
    preconditioner: Preconditioner | None,
    *,
    tolerance: float = 1e-3,
    max_products: int = 200,
    seed: int = 0,
    start: Tensor | None = None,
) -> Eigenpairs:
    """The eigenpair behind :func:`preconditioned_sharpness`, which costs nothing after that measure."""
    limits: dict[str, Any] = {"tolerance": tolerance, "max_products": max_products}
    return objective.cached(_pairs, preconditioner, seed=seed, start=start, **limits)


def _pairs(
    objective: Objective,
    preconditioner: Preconditioner | None,
    *,
    tolerance: float,
    max_products: int,
    seed: int,
    start: Tensor | None,
) -> Eigenpairs:
    given = preconditioner or Preconditioner(None, math.inf)
    matrix = preconditioned_hessian(objective, given)
    if start is None:
        gradient = start_of(objective)
        start = gradient if given.diagonal is None else gradient * given.diagonal.rsqrt()
    return lanczos(
        matrix,
        end="largest",
        tolerance=tolerance,
        max_products=max_products,
        generator=torch.Generator().manual_seed(seed),
        start=start,
        max_basis=longest_basis(objective, matrix.length),
    )
