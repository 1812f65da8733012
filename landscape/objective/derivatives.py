"""Old names of :mod:`landscape.objective.products`, until their callers have moved."""

from collections.abc import Sequence

from torch import Tensor

from landscape.objective.batches import Batch
from landscape.objective.graphs import HessianGraph, ResidualGraph
from landscape.objective.products import gradient as gradient
from landscape.objective.products import gradient_of_graph as gradient_of_graph
from landscape.objective.products import products
from landscape.objective.products import second_derivatives as second_derivatives
from landscape.objective.risk import Risk


def hessian_products(risk: Risk, batch: Batch, columns: Sequence[Tensor]) -> list[Tensor]:
    """Products with the Hessian."""
    return products(risk, batch, HessianGraph, columns)


def residual_products(risk: Risk, batch: Batch, columns: Sequence[Tensor]) -> list[Tensor]:
    """Products with H − G."""
    return products(risk, batch, ResidualGraph, columns)
