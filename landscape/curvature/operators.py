"""The curvature matrices by name."""

from collections.abc import Callable, Mapping
from typing import Literal

from landscape.curvature.empirical_fisher import empirical_fisher
from landscape.curvature.gauss_newton import gauss_newton
from landscape.curvature.hessian import hessian
from landscape.linalg.operator import SymmetricOperator
from landscape.objective import Objective

OperatorName = Literal["hessian", "gauss-newton", "empirical-fisher"]

OPERATORS: Mapping[OperatorName, Callable[[Objective], SymmetricOperator]] = {
    "hessian": hessian,
    "gauss-newton": gauss_newton,
    "empirical-fisher": empirical_fisher,
}
"""The matrices whose spectrum can be asked for."""
