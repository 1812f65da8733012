"""Curvature operators of an objective: the Hessian and the generalised Gauss–Newton matrix."""
