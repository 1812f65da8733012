"""The Hessian of an objective as an operator."""

from landscape.linalg.operator import SymmetricOperator
from landscape.objective import Objective


def hessian(objective: Objective) -> SymmetricOperator:
    """∇²L(θ), by products; see :meth:`landscape.Objective.hessian_product`."""
    return SymmetricOperator(
        objective.hessian_product, objective.dimension, objective.point.device, objective.point.dtype
    )
