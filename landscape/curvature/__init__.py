"""Curvature operators of an objective: the Hessian and the generalised Gauss–Newton matrix."""

from landscape.curvature.gauss_newton import gauss_newton as gauss_newton
from landscape.curvature.hessian import hessian as hessian
