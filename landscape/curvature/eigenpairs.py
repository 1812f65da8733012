"""Eigenvalues of a curvature matrix together with their eigenvectors, which the eigenvalue measures do not report."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.curvature.operators import OPERATORS, OperatorName
from landscape.curvature.preconditioning import Preconditioner, preconditioned
from landscape.linalg import Decay, Eigenpair, Eigenpairs, lanczos, power_iteration
from landscape.linalg.lanczos import BASIS_BYTES, SHORT, End
from landscape.objective import Objective
from landscape.objective.memory import available_bytes
from landscape.objective.products import gradient_of_graph

Method = Literal["auto", "lanczos", "power"]
"""How the dominant eigenvalue is computed."""


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
    """
    limits: dict[str, Any] = {"tolerance": tolerance, "max_products": max_products}
    pairs: Eigenpairs = objective.cached(
        _solution, lanczos, operator, seed, start, max_products, count=k, end=end, **limits
    )
    return pairs


def dominant_eigenpair(
    objective: Objective,
    *,
    method: Method = "auto",
    operator: OperatorName = "hessian",
    tolerance: float = 1e-3,
    max_iterations: int = 200,
    seed: int = 0,
    start: Tensor | None = None,
) -> Eigenpair:
    """The eigenpair behind :func:`landscape.measures.dominant_eigenvalue`, which costs nothing after that measure.

    Args:
        objective: The point.
        method: Lanczos from the gradient, also for ``"auto"``, or power iteration from a random start.
        operator: The matrix.
        tolerance: Of the relative residual.
        max_iterations: The most products to spend.
        seed: Of the random (part of the) start.
        start: The first vector ``(n,)`` instead, such as the eigenvector of a point nearby.
    """
    if method != "power":
        options: dict[str, Any] = {"operator": operator, "tolerance": tolerance, "seed": seed, "start": start}
        pairs = eigenpairs(objective, k=1, max_products=max_iterations, **options)
        value, residual = float(pairs.values[0]), float(pairs.residuals[0])
        return Eigenpair(value, pairs.vectors[:, 0], residual, pairs.products, pairs.converged)
    limits: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations}
    pair: Eigenpair = objective.cached(
        _solution, power_iteration, operator, seed, start, max_iterations, **limits
    )
    return pair


def preconditioned_eigenpair(
    objective: Objective,
    *,
    preconditioner: Preconditioner | None = None,
    tolerance: float = 1e-3,
    max_products: int = 200,
    seed: int = 0,
    start: Tensor | None = None,
) -> Eigenpairs:
    """The pair behind :func:`landscape.measures.preconditioned_sharpness`: at the upper end of P⁻½HP⁻½.

    Args:
        objective: The point.
        preconditioner: P; the identity if ``None``.
        tolerance: Of the residual, relative to the eigenvalue.
        max_products: The most products to spend.
        seed: Of the random part of the start.
        start: The first vector ``(n,)``; by default P⁻½∇L(θ).
    """
    limits: dict[str, Any] = {"tolerance": tolerance, "max_products": max_products}
    pairs: Eigenpairs = objective.cached(
        _solution,
        lanczos,
        "hessian",
        seed,
        start,
        max_products,
        preconditioner,
        count=1,
        end="largest",
        **limits,
    )
    return pairs


def _solution(
    objective: Objective,
    /,
    solver: Callable[..., Any],
    operator: OperatorName,
    seed: int,
    start: Tensor | None,
    most: int,
    preconditioner: Preconditioner | None = None,
    **options: Any,
) -> Any:
    """The result of a solver, as a function that the objective can cache; reports progress to its ledger."""
    decay = Decay(options["tolerance"], most)

    def report(products: int, value: float, residual: float) -> None:
        goal = options["tolerance"]
        state = f"residual {residual:.1e} (goal {goal:.0e})"
        if residual <= goal and options.get("count", 1) > 1:
            state = "looking for missed ones"  # from a random vector, see landscape.linalg.lanczos
        words = f"step {products}, {state}, eigenvalue {value:.4g}"
        objective.ledger.tell(words, decay.share(products, residual))

    first: Tensor | Callable[[], Tensor] | None = start
    if start is None and solver is lanczos:
        first = partial(_start_of, objective, operator, preconditioner)  # which is not to outlive its use
    matrix = OPERATORS[operator](objective)
    if preconditioner is not None:
        matrix = preconditioned(matrix, preconditioner)
    if solver is lanczos:
        options["max_basis"] = longest_basis(objective, matrix.length, options["count"])
    generator = torch.Generator().manual_seed(seed)
    return solver(matrix, generator=generator, start=first, on_step=report, **options)


def _start_of(objective: Objective, operator: OperatorName, preconditioner: Preconditioner | None) -> Tensor:
    start = start_of(objective, operator)
    return start if preconditioner is None else preconditioner.root() * start


def longest_basis(objective: Objective, length: int, count: int = 1) -> int:
    """The rows of a Lanczos basis: few for one pair, else what half of the available memory holds, in all processes.

    Args:
        objective: The point.
        length: Of a row, in this process.
        count: The eigenpairs that are searched for, from which follows the shortest basis that is of use.
    """
    if count == 1:
        return SHORT
    available, row = available_bytes(objective.point.device), length * objective.point.element_size()
    if available == 0:  # unknown
        available = 2 * BASIS_BYTES
    rows = min(objective.processes.gathered(available // (2 * max(1, row))))
    return max(2 * count + 8, rows)


def start_of(objective: Objective, operator: OperatorName = "hessian") -> Tensor:
    """∇L(θ); if it is not known yet, from the graphs that products with the Hessian build and keep in any case."""
    if operator != "hessian" or objective.has_gradient:
        return objective.gradient
    return objective.average(gradient_of_graph)[0]
