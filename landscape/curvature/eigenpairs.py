"""Eigenvalues of a curvature matrix with their eigenvectors: what the eigenvalue measures report without vectors.

An :class:`~landscape.records.estimate.Estimate` is a line of numbers and holds no vectors. The functions here
return them, with the same options, and pay nothing for what a measure has already computed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.curvature.operators import OPERATORS, OperatorName
from landscape.linalg import Eigenpairs, lanczos
from landscape.linalg.lanczos import End
from landscape.objective import Objective, derivatives

START = "start of eigenvalue iterations"
DOMINANT = "dominant eigenvector"


def eigenpairs(
    objective: Objective,
    *,
    k: int = 5,
    end: End = "magnitude",
    operator: OperatorName = "hessian",
    tolerance: float = 1e-3,
    max_products: int = 200,
    seed: int = 0,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Eigenpairs:
    """The k eigenpairs at one end of a curvature matrix, by Lanczos from the gradient or the suggested start.

    Args:
        objective: Where.
        k: How many.
        end: Which: of largest magnitude, the largest, the smallest.
        operator: Of which matrix.
        tolerance: Of each residual, relative to its eigenvalue.
        max_products: Products at the most.
        seed: Of the random part of the start.
        on_step: Told products, the first value and the worst relative residual.
    """
    key = ("eigenpairs", operator, k, end, tolerance, max_products, seed)
    return objective.remembered(
        key,
        lambda: lanczos(
            OPERATORS[operator](objective),
            count=k,
            end=end,
            tolerance=tolerance,
            max_products=max_products,
            generator=torch.Generator().manual_seed(seed),
            start=suggested_start(objective, otherwise=lambda: _gradient(objective, operator)),
            on_step=on_step,
        ),
    )


def _gradient(objective: Objective, operator: OperatorName) -> Tensor:
    """∇L(θ), where it is not there yet from the graphs that products with the Hessian build and keep."""
    if operator != "hessian" or objective.recall("slope") is not None:
        return objective.gradient
    return objective.average(derivatives.gradient_of_graph)[0]


def suggest_start(objective: Objective, vector: Tensor) -> None:
    """Lets eigenvalue iterations at this point start from a vector ``(n,)``: the eigenvector of a point nearby.

    Call it before the first of them. The answers are the same within their residuals, for fewer products.
    """
    objective.remembered(START, lambda: vector)


def suggested_start(
    objective: Objective, *, otherwise: Callable[[], Tensor | None] = lambda: None
) -> Tensor | None:
    """The vector that was suggested, or what ``otherwise`` yields."""
    found: Tensor | None = objective.recall(START)
    return otherwise() if found is None else found


def dominant_eigenvector(objective: Objective) -> Tensor | None:
    """The vector ``(n,)`` of the Hessian's dominant eigenvalue if a measure has computed it at this point."""
    found: Tensor | None = objective.recall(DOMINANT)
    return found
