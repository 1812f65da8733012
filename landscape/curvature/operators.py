"""The curvature matrices of an objective as operators, by name."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor

from landscape.linalg import SymmetricOperator
from landscape.objective import Objective

OperatorName = Literal["hessian", "gauss-newton", "empirical-fisher"]


def hessian(objective: Objective) -> SymmetricOperator:
    """∇²L(θ), by products; see :meth:`landscape.Objective.hessian_product`."""
    return _operator(objective, objective.hessian_product)


def gauss_newton(objective: Objective) -> SymmetricOperator:
    """G = (1/N) Σᵢ Jᵢᵀ (∂²ℓ/∂f²) Jᵢ, by products; see :meth:`landscape.Objective.gauss_newton_product`."""
    return _operator(objective, objective.gauss_newton_product)


def empirical_fisher(objective: Objective) -> SymmetricOperator:
    """F = (1/N) Σᵢ gᵢ gᵢᵀ, by products; see :meth:`landscape.Objective.empirical_fisher_product`."""
    return _operator(objective, objective.empirical_fisher_product)


def _operator(objective: Objective, product: Callable[[Tensor], Tensor]) -> SymmetricOperator:
    shards, point = objective.shards, objective.point
    return SymmetricOperator(
        product,
        objective.dimension,
        point.device,
        point.dtype,
        ranges=shards.ranges,
        total=shards.total,
        at_once=lambda: objective.processes.decided(objective.engine.graphs.columns(point.nbytes)),
    )


OPERATORS: Mapping[OperatorName, Callable[[Objective], SymmetricOperator]] = {
    "hessian": hessian,
    "gauss-newton": gauss_newton,
    "empirical-fisher": empirical_fisher,
}
"""The matrices whose spectrum can be computed."""
