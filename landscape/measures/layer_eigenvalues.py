"""The dominant eigenvalue of the Hessian, layer by layer."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from landscape.curvature.parts import Part, Partition, block_of_hessian, parts_by
from landscape.linalg import Eigenpairs, lanczos
from landscape.measures.expected import Expected, Settings, Short, basis_growth
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def _cost(objective: Objective, options: Settings) -> Expected:
    layers = len(parts_by(objective, options["by"]))
    return Expected(
        Cost(gradients=2, products=3 * layers),
        high={"products": 12 * layers},
        budget={"products": layers * options["max_products"]},
    )


def _short(first: Objective, short: Settings, settings: Settings) -> Short:
    """Short searches for the eigenvalues of the first layer, which has most of the graph behind it, and the largest."""
    parts, most = parts_by(first, settings["by"]), settings["max_products"]
    largest, spent = max(parts, key=lambda part: part.size(first)), min(2, most)

    def run(objective: Objective) -> object:
        for part in (parts[0], largest):
            found = lanczos(
                block_of_hessian(objective, part),
                max_products=spent,
                generator=torch.Generator().manual_seed(0),
                start=partial(part.of, objective, objective.gradient),
            )
        return found

    growth = basis_growth(first, (spent, most), length=largest.size(first))
    return Short(lambda products: growth(products / len(parts)) if products > 1 else 0, run)


@measure_named("layer-eigenvalues", unit="loss/θ²", cost=_cost, short=_short)
def layer_eigenvalues(
    objective: Objective,
    *,
    by: Partition = "tensor",
    tolerance: Positive = 1e-3,
    max_products: PositiveInt = 100,
    seed: Seed = 0,
) -> Reading:
    """The eigenvalue of largest magnitude of the diagonal block of ∇²L(θ) of every layer.

    The value is the one of largest magnitude among them, a lower bound of |λ| of the whole Hessian. The details hold
    ``layers`` and ``residuals`` by name. By Lanczos from the gradient's part in the block; each residual bounds the
    distance to *an* eigenvalue of the block.

    Args:
        objective: The point.
        by: What a layer is: a parameter ``"tensor"``; a ``"block"`` of the network, such as ``transformer.h.0`` or
            ``layer1.0``, or a layer outside them; or the queries, keys and values of a ``"head"`` of attention.
        tolerance: Of each residual, relative to its eigenvalue.
        max_products: The most products for one layer.
        seed: Of the random part of the starts.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, section 4.
    """
    parts, pairs = parts_by(objective, by), dict[str, Eigenpairs]()
    for k, part in enumerate(parts):
        found = lanczos(
            block_of_hessian(objective, part),
            tolerance=tolerance,
            max_products=max_products,
            generator=torch.Generator().manual_seed(seed),
            start=partial(_start, objective, part),
        )
        # Without the vectors, which together are as long as θ.
        pairs[part.name] = replace(found, vectors=found.vectors[:0])
        objective.ledger.tell(f"{k + 1} of {len(parts)} layers", (k + 1) / len(parts))
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


def _start(objective: Objective, part: Part) -> Tensor:
    return part.of(objective, objective.gradient)
