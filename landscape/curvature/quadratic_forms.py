"""Random quadratic forms vᵀAv summed over the data, with probes of its own for every batch.

The trace is linear in the data, so that independent probes for each batch cost nothing and cut the variance: by
3.3 with 4 batches, 7 with 8, and more with more. A plain product with a vector cannot do it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.objective import Objective, derivatives
from landscape.objective.batches import Batch
from landscape.objective.risk import Risk


def quadratic_forms(
    objective: Objective, *, columns: int, generator: torch.Generator, less_gauss_newton: bool
) -> Tensor:
    """Independent unbiased estimates of Tr H, or of Tr (H − G), layer by layer: ``(columns, parameters)``.

    Args:
        objective: Where.
        columns: Rademacher probes a batch.
        generator: Draws them.
        less_gauss_newton: Takes Tr (H − G): little is left of it where H is near G.
    """

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        point = risk.replica.origin
        drawn = torch.randint(0, 2, (columns, point.numel()), generator=generator, dtype=torch.int8)
        probes = list((2 * drawn - 1).to(point.device, point.dtype))
        kind = derivatives.residual_products if less_gauss_newton else derivatives.hessian_products
        products = kind(risk, batch, probes)
        split = risk.replica.layout.split
        return [torch.stack([_inner(split(v), split(p)) for v, p in zip(probes, products, strict=True)])]

    (forms,) = objective.average(visit, products=columns)
    return forms.cpu()


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The inner product of every part, ``(parts,)`` in float64."""
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)])
