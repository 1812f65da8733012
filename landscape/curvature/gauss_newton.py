"""The generalised Gauss–Newton matrix of an objective as an operator."""

from landscape.linalg.operator import SymmetricOperator
from landscape.objective import Objective


def gauss_newton(objective: Objective) -> SymmetricOperator:
    """G = (1/N) Σᵢ Jᵢᵀ (∂²ℓ/∂f²) Jᵢ, by products; see :meth:`landscape.Objective.gauss_newton_product`."""
    return SymmetricOperator(
        objective.gauss_newton_product, objective.dimension, objective.point.device, objective.point.dtype
    )
