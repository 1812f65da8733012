"""The objective: the empirical risk at a point, and everything that evaluates and differentiates it."""

from landscape.losses.loss_functions import BatchLoss, Loss
from landscape.objective.batch import Batch
from landscape.objective.objective import Objective
from landscape.objective.passes import BatchGradients
from landscape.objective.risk import Risk

__all__ = ["Batch", "BatchGradients", "BatchLoss", "Loss", "Objective", "Risk"]
