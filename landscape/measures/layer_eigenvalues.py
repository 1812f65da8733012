"""The dominant eigenvalue of the Hessian, layer by layer."""

import torch
from torch import Tensor

from landscape.linalg import SymmetricOperator, lanczos
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.parameters import Entry
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named("layer-eigenvalues", unit="loss/θ²")
def layer_eigenvalues(
    objective: Objective, *, tolerance: Positive = 1e-3, max_products: PositiveInt = 100, seed: Seed = 0
) -> Reading:
    """The eigenvalue of largest magnitude of every parameter tensor's diagonal block of ∇²L(θ).

    The value is the one of largest magnitude among them, a lower bound of |λ| of the whole Hessian. The details hold
    ``layers`` and ``residuals`` by parameter name. By Lanczos from the gradient's part in the block; each residual
    bounds the distance to *an* eigenvalue of the block.

    Args:
        objective: The point.
        tolerance: Of each residual, relative to its eigenvalue.
        max_products: The most products for one tensor.
        seed: Of the random part of the starts.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, section 4.
    """
    entries, pairs = objective.layout.entries, {}
    for k, entry in enumerate(entries):
        pairs[entry.name] = lanczos(
            _block(objective, k, entry),
            tolerance=tolerance,
            max_products=max_products,
            generator=torch.Generator().manual_seed(seed),
            start=objective.gradient[entry.offset : entry.offset + entry.size],
        )
        objective.ledger.tell(f"{k + 1} of {len(entries)} layers", (k + 1) / len(entries))
    values = {name: float(pair.values[0]) for name, pair in pairs.items()}
    residuals = {name: float(pair.residuals[0]) for name, pair in pairs.items()}
    first = max(values, key=lambda name: abs(values[name]))
    return Reading(
        values[first],
        converged=all(pair.converged for pair in pairs.values()),
        details={
            "layer": first,
            "layers": values,
            "residuals": residuals,
            "residual": residuals[first],
            "iterations": sum(pair.products for pair in pairs.values()),
        },
    )


def _block(objective: Objective, number: int, entry: Entry) -> SymmetricOperator:
    rows = slice(entry.offset, entry.offset + entry.size)

    def product(vectors: Tensor) -> Tensor:
        padded = objective.point.new_zeros(len(objective.point), *vectors.shape[1:])
        padded[rows] = vectors
        return objective.hessian_product(padded, block=number)[rows]

    shards, point = objective.shards, objective.point
    size, ranges = shards.block(number)
    return SymmetricOperator(product, size, point.device, point.dtype, ranges=ranges, total=shards.total)
