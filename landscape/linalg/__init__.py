"""Iterative linear algebra on symmetric operators; knows nothing of networks."""

from landscape.linalg.hutchinson import TraceEstimate as TraceEstimate
from landscape.linalg.hutchinson import hutchinson as hutchinson
from landscape.linalg.lanczos import Eigenpairs as Eigenpairs
from landscape.linalg.lanczos import lanczos as lanczos
from landscape.linalg.operator import SymmetricOperator as SymmetricOperator
from landscape.linalg.operator import dense as dense
from landscape.linalg.power_iteration import Eigenpair as Eigenpair
from landscape.linalg.power_iteration import power_iteration as power_iteration
from landscape.linalg.slq import Quadrature as Quadrature
from landscape.linalg.slq import stochastic_lanczos_quadrature as stochastic_lanczos_quadrature
