"""The trace of a symmetric operator: exactly on a sketched subspace, from random quadratic forms on the rest."""

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.isolation.precision import full_precision
from landscape.linalg.hutchinson import BLOCK_BYTES, MIN_PROBES, Progress, TraceEstimate, mean_of_draws
from landscape.linalg.interchange import Operator, as_operator
from landscape.linalg.operator import SymmetricOperator


@full_precision()
def hutchpp(
    operator: Operator,
    *,
    sketch: int = 24,
    tolerance: float = 0.02,
    max_products: int = 400,
    generator: torch.Generator,
    block: int = 8,
    on_step: Progress | None = None,
) -> TraceEstimate:
    """Tr A = Tr QᵀAQ + Tr PAP with Q an orthonormal basis of A S, S random signs, and P = I − QQᵀ.

    The first part is computed, the second estimated from Rademacher probes that are independent of S: unbiased,
    and its standard error is that of the probes alone. It beats :func:`hutchinson` where a few eigenvalues
    dominate, for their eigenvectors lie almost wholly in the span of Q.

    Args:
        operator: A.
        sketch: Columns of S, each two products; never more than a third of ``max_products``, nor than n.
        tolerance: Stops when the standard error is at most ``tolerance``·|estimate|, checked after each block
            and never before :data:`~landscape.linalg.hutchinson.MIN_PROBES` probes.
        max_products: The most products in all; beyond them the estimate is not converged.
        generator: Draws the seed of S and of the probes.
        block: Vectors a product.
        on_step: Called with the products so far, the estimate and its standard error after every block.

    Returns:
        The estimate; its ``samples`` are the exact part plus each deflated quadratic form.

    Reference:
        Meyer, Musco, Musco and Woodruff, "Hutch++: optimal stochastic trace estimation", 2021, arXiv 2010.09649,
        algorithm 1. There the three parts get a third of the products each; here the number of probes follows
        from their standard error.
    """
    a, draws = as_operator(operator), Draws.of(generator)
    width = max(1, min(block, BLOCK_BYTES // max(1, 4 * a.dimension)))
    columns = max(1, min(sketch, a.dimension, max_products // 3))

    def products(vectors: Tensor) -> Tensor:
        return torch.cat([a @ part.contiguous() for part in torch.split(vectors, width, dim=1)], dim=1)

    if columns == a.dimension:
        identity = torch.eye(columns, dtype=a.dtype, device=a.device)
        units = torch.cat([identity[part.start : part.stop] for part in a.ranges or (range(a.dimension),)])
        first = float(a.dot(units, products(units)).sum())
        return TraceEstimate(
            first, 0.0, torch.full((1,), first, dtype=torch.float64, device="cpu"), first == first
        )
    basis = orthonormal(a, products(a.rademacher(draws.fold(0), range(columns))))
    first = float(a.dot(basis, products(basis)).sum())

    def forms(numbers: range) -> Tensor:
        probes = a.rademacher(draws.fold(1), numbers)
        rest = torch.addmm(probes, basis, a.total(basis.T @ probes), alpha=-1)
        return first + a.dot(rest, a @ rest)

    return mean_of_draws(
        forms,
        block=width,
        limit=max_products - 2 * columns,
        minimum=MIN_PROBES,
        tolerance=tolerance,
        on_step=on_step and (lambda probes, *estimate: on_step(2 * columns + probes, *estimate)),
    )


def orthonormal(a: SymmetricOperator, columns: Tensor) -> Tensor:
    """An orthonormal basis of the span of columns ``(length, K)``, without directions of no weight beside the largest.

    From the eigenvectors of the columns' inner products, of which processes that divide the coordinates need the sum
    alone. Those are squares, so that half of the digits are lost, which a second time restores.

    Reference:
        Stathopoulos and Wu, "A block orthogonalization procedure with constant synchronization requirements", SIAM J.
        Sci. Comput. 23(6), 2002.
    """
    # Of the singular values beside the largest, what the inner products resolve in float64, or the columns have.
    least = max(1e-7, 8 * torch.finfo(a.dtype).eps)
    for _ in range(2 if columns.shape[1] else 0):
        squares, directions = torch.linalg.eigh(a.gram(columns).cpu())
        if not squares.isfinite().all():
            return columns
        kept = squares > least**2 * squares[-1]
        if not kept.any():
            return columns[:, :0]
        factors = directions[:, kept] / squares[kept].sqrt()
        columns = columns @ factors.to(columns)
    return columns
