"""Eigenvalues of a curvature matrix together with their eigenvectors, which the eigenvalue measures do not report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.curvature.operators import OPERATORS, OperatorName
from landscape.linalg import Eigenpair, Eigenpairs, lanczos, power_iteration
from landscape.linalg.lanczos import End
from landscape.objective import Objective, derivatives

Progress = Callable[[int, float, float], None]
"""Called after every product with their number, the (first) eigenvalue and its (worst) relative residual."""


@dataclass(frozen=True)
class _Listener:
    """A callback that is no part of what identifies a result in the objective's cache."""

    call: Progress | None = field(compare=False)


def eigenpairs(
    objective: Objective,
    *,
    k: int = 5,
    end: End = "magnitude",
    operator: OperatorName = "hessian",
    tolerance: float = 1e-3,
    max_products: int = 200,
    seed: int = 0,
    start: Tensor | None = None,
    on_step: Progress | None = None,
) -> Eigenpairs:
    """The k eigenpairs at one end of a curvature matrix, by Lanczos; computed once at a point.

    Args:
        objective: The point.
        k: The number of pairs.
        end: The end of the spectrum: largest magnitude, largest or smallest.
        operator: The matrix.
        tolerance: Of each residual, relative to its eigenvalue.
        max_products: The most products to spend.
        seed: Of the random part of the start.
        start: The first vector ``(n,)``, such as the eigenvector of a point nearby, which saves products; by default
            the gradient.
        on_step: Called with the number of products, the first value and the worst relative residual.
    """
    pairs: Eigenpairs = objective.cached(
        _solution,
        lanczos,
        operator,
        seed,
        start,
        _Listener(on_step),
        count=k,
        end=end,
        tolerance=tolerance,
        max_products=max_products,
    )
    return pairs


def dominant_eigenpair(
    objective: Objective,
    *,
    method: Literal["power", "lanczos"] = "power",
    operator: OperatorName = "hessian",
    tolerance: float = 1e-3,
    max_iterations: int = 200,
    seed: int = 0,
    start: Tensor | None = None,
    on_step: Progress | None = None,
) -> Eigenpair:
    """The eigenpair of largest magnitude, as :func:`landscape.measures.dominant_eigenvalue` computes its value.

    The options are those of the measure, so that the pair behind a value costs nothing more.

    Args:
        objective: The point.
        method: Power iteration from a random start, or Lanczos from the gradient.
        operator: The matrix.
        tolerance: Of the relative residual.
        max_iterations: The most products to spend.
        seed: Of the random (part of the) start.
        start: The first vector ``(n,)`` instead, such as the eigenvector of a point nearby.
        on_step: Called with the number of products, the value and its relative residual.
    """
    if method == "lanczos":
        pairs = eigenpairs(
            objective,
            k=1,
            operator=operator,
            tolerance=tolerance,
            max_products=max_iterations,
            seed=seed,
            start=start,
            on_step=on_step,
        )
        value, residual = float(pairs.values[0]), float(pairs.residuals[0])
        return Eigenpair(value, pairs.vectors[:, 0], residual, pairs.products, pairs.converged)
    pair: Eigenpair = objective.cached(
        _solution,
        power_iteration,
        operator,
        seed,
        start,
        _Listener(on_step),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return pair


def _solution(
    objective: Objective,
    /,
    solver: Callable[..., Any],
    operator: OperatorName,
    seed: int,
    start: Tensor | None,
    listener: _Listener,
    **options: Any,
) -> Any:
    """What a solver of :mod:`landscape.linalg` computes; a function of its own, so that the objective can cache it."""
    if start is None and solver is lanczos:
        start = _gradient(objective, operator)
    generator = torch.Generator().manual_seed(seed)
    matrix = OPERATORS[operator](objective)
    return solver(matrix, generator=generator, start=start, on_step=listener.call, **options)


def _gradient(objective: Objective, operator: OperatorName) -> Tensor:
    """∇L(θ); if it is not known yet, from the graphs that products with the Hessian build and keep in any case."""
    if operator != "hessian" or objective.has_gradient:
        return objective.gradient
    return objective.average(derivatives.gradient_of_graph)[0]


START = "start of eigenvalue iterations"
DOMINANT = "dominant eigenvector"


def suggest_start(objective: Objective, vector: Tensor) -> None:
    """Lets eigenvalue measures at this point start from a vector ``(n,)``."""
    objective.remembered(START, lambda: vector)


def dominant_eigenvector(objective: Objective) -> Tensor | None:
    """The vector ``(n,)`` of the Hessian's dominant eigenvalue if a measure has computed it at this point."""
    vector: Tensor | None = objective.recall(DOMINANT)
    return vector
