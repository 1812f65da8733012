"""The empirical Fisher matrix of an objective as an operator."""

from landscape.linalg.operator import SymmetricOperator
from landscape.objective import Objective


def empirical_fisher(objective: Objective) -> SymmetricOperator:
    """F = (1/N) Σᵢ gᵢ gᵢᵀ, by products; see :meth:`landscape.Objective.empirical_fisher_product`."""
    return SymmetricOperator(
        objective.empirical_fisher_product, objective.dimension, objective.point.device, objective.point.dtype
    )
