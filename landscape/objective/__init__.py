"""The objective: the empirical risk at a point, and everything that evaluates and differentiates it."""

from landscape.objective.loss_functions import BatchLoss
from landscape.objective.objective import BatchGradients, Objective

__all__ = ["BatchGradients", "BatchLoss", "Objective"]
