"""Iterative linear algebra on symmetric operators; knows nothing of networks."""

from landscape.linalg.decay import Decay as Decay
from landscape.linalg.hutchinson import TraceEstimate as TraceEstimate
from landscape.linalg.hutchinson import hutchinson as hutchinson
from landscape.linalg.hutchpp import hutchpp as hutchpp
from landscape.linalg.interchange import Operator as Operator
from landscape.linalg.interchange import as_operator as as_operator
from landscape.linalg.interchange import from_scipy as from_scipy
from landscape.linalg.interchange import to_scipy as to_scipy
from landscape.linalg.lanczos import Eigenpairs as Eigenpairs
from landscape.linalg.lanczos import lanczos as lanczos
from landscape.linalg.operator import SymmetricOperator as SymmetricOperator
from landscape.linalg.operator import dense as dense
from landscape.linalg.power_iteration import Eigenpair as Eigenpair
from landscape.linalg.power_iteration import power_iteration as power_iteration
from landscape.linalg.slq import Quadrature as Quadrature
from landscape.linalg.slq import stochastic_lanczos_quadrature as stochastic_lanczos_quadrature
