"""The dominant eigenvalue of the Hessian, layer by layer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landscape.linalg import SymmetricOperator, lanczos
from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective
from landscape.parameters import Entry
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def _spends(objective: Objective, options: Mapping[str, Any]) -> Spending:
    layers = len(objective.layout.entries)
    return Spending(
        gradients=2, products=6 * layers, most=Cost(gradients=2, products=layers * options["max_products"])
    )


@measure_named("layer-eigenvalues", unit="loss/θ²", spends=_spends)
def layer_eigenvalues(
    objective: Objective, *, tolerance: Positive = 1e-3, max_products: PositiveInt = 100, seed: Seed = 0
) -> Reading:
    """The eigenvalue of largest magnitude of every parameter tensor's diagonal block of ∇²L(θ).

    The value is the one of largest magnitude among them, which |λ| of the whole Hessian is at least. The details hold
    ``layers`` and ``residuals`` by parameter name. By Lanczos from the gradient's part in the block; each residual
    bounds the distance to *an* eigenvalue of the block.

    Args:
        objective: Where.
        tolerance: Of each residual, relative to its eigenvalue.
        max_products: Products for one tensor at the most.
        seed: Of the random part of the starts.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, section 4.
    """
    entries = objective.layout.entries
    found = {}
    for k, entry in enumerate(entries):
        found[entry.name] = lanczos(
            _block(objective, k, entry),
            tolerance=tolerance,
            max_products=max_products,
            generator=torch.Generator().manual_seed(seed),
            start=objective.gradient[entry.offset : entry.offset + entry.size],
        )
        objective.ledger.tell(f"{k + 1} of {len(entries)} layers", (k + 1) / len(entries))
    values = {name: float(pairs.values[0]) for name, pairs in found.items()}
    first = max(values, key=lambda name: abs(values[name]))
    residuals = {name: float(pairs.residuals[0]) for name, pairs in found.items()}
    return Reading(
        values[first],
        converged=all(pairs.converged for pairs in found.values()),
        details={
            "layer": first,
            "layers": values,
            "residuals": residuals,
            "residual": residuals[first],
            "iterations": sum(pairs.products for pairs in found.values()),
        },
    )


def _block(objective: Objective, number: int, entry: Entry) -> SymmetricOperator:
    rows = slice(entry.offset, entry.offset + entry.size)

    def product(vectors: Tensor) -> Tensor:
        whole = objective.point.new_zeros(objective.dimension, *vectors.shape[1:])
        whole[rows] = vectors
        return objective.hessian_product(whole, block=number)[rows]

    return SymmetricOperator(product, entry.size, objective.point.device, objective.point.dtype)
