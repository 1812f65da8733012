"""Curvature of an objective: the Hessian, the generalised Gauss–Newton and the empirical Fisher matrix."""

from landscape.curvature.eigenpairs import dominant_eigenpair as dominant_eigenpair
from landscape.curvature.eigenpairs import eigenpairs as eigenpairs
from landscape.curvature.operators import OPERATORS as OPERATORS
from landscape.curvature.operators import OperatorName as OperatorName
from landscape.curvature.operators import empirical_fisher as empirical_fisher
from landscape.curvature.operators import gauss_newton as gauss_newton
from landscape.curvature.operators import hessian as hessian
