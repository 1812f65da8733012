"""Eigenpairs at either end of a symmetric operator's spectrum, by Lanczos with full reorthogonalisation.

Full reorthogonalisation (two passes against the whole basis) keeps ghost copies of eigenvalues away; a thick restart
keeps the basis within a memory cap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.linalg.interchange import Operator, as_operator
from landscape.linalg.start import start_vector

End = Literal["magnitude", "largest", "smallest"]

BASIS_BYTES = 1 << 31
"""Memory for the basis; a longer one is restarted."""


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs ``A vᵢ ≈ λᵢ vᵢ``, the most wanted first.

    Attributes:
        values: Ritz values, ``(k,)`` in float64.
        vectors: Orthonormal Ritz vectors, ``(n, k)``.
        residuals: ‖A vᵢ − λᵢ vᵢ‖ as Lanczos knows it, ``(k,)``. Within each lies *an* eigenvalue of A; that none
            more extreme was missed is likely from a random start, but no residual proves it.
        products: Products spent.
        converged: Whether every residual is at most ``tolerance``·|λᵢ|.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


def lanczos(
    operator: Operator,
    *,
    count: int = 1,
    end: End = "magnitude",
    tolerance: float = 1e-3,
    max_products: int = 200,
    generator: torch.Generator,
    start: Tensor | None = None,
    max_basis: int | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Eigenpairs:
    """The ``count`` eigenpairs of largest magnitude, or at the upper or the lower end.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        count: How many, at most n.
        end: Which.
        tolerance: Of each residual, relative to |λᵢ|.
        max_products: Gives up, with ``converged=False``, after so many.
        generator: Draws the start, and new directions where the Krylov space is exhausted.
        start: A good first vector ``(n,)``, such as the gradient or an earlier eigenvector; a small random part is
            added, so that no eigenvector is orthogonal to it.
        max_basis: Basis vectors at the most; by default what :data:`BASIS_BYTES` holds.
        on_step: Told products, the first Ritz value and the largest of the residuals relative to their values.

    Reference:
        Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix
        Anal. Appl. 22(2), 2000.
    """
    a = as_operator(operator)
    n = a.dimension
    count = min(count, n)
    room = max_basis or max(2 * count + 8, BASIS_BYTES // (8 * n))
    size = max(min(n, room, max_products + 1), min(n, count + 2))
    basis = torch.zeros(size + 1, n, dtype=a.dtype, device=a.device)
    projected = torch.zeros(size, size, dtype=torch.float64)
    basis[0] = start_vector(a, start, generator)
    used = products = 0
    while True:
        image = a @ basis[used]
        products += 1
        image, coefficients = _orthogonalised(image, basis[: used + 1])
        projected[: used + 1, used] = projected[used, : used + 1] = coefficients
        used += 1
        beta = float(image.double().norm())
        ritz, vectors = torch.linalg.eigh(projected[:used, :used])
        order = _wanted(ritz, end)[:count]
        residuals = beta * vectors[-1, order].abs()
        met = used >= count and bool((residuals <= tolerance * ritz[order].abs()).all())
        if on_step is not None:
            on_step(products, float(ritz[order[0]]), float((residuals / ritz[order].abs()).max()))
        if met or used == n or products >= max_products or beta != beta:
            break
        if beta <= 1e-13 * float(ritz.abs().max()):  # an invariant subspace: go on in a new direction
            image = _orthogonalised(a.normal(generator), basis[:used])[0]
        basis[used] = image / image.norm()
        if used == size:
            used = _restart(basis, projected, ritz, vectors, _wanted(ritz, end), count)
    found = vectors[:, order].to(a.device, a.dtype)
    return Eigenpairs(ritz[order], basis[:used].T @ found, residuals, products, met)


def _orthogonalised(vector: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """``vector`` less its part in the rows of ``basis``, taken out twice; and that part's coefficients."""
    first = basis @ vector
    vector = vector - first @ basis
    second = basis @ vector
    vector = vector - second @ basis
    return vector, (first + second).double().cpu()


def _wanted(ritz: Tensor, end: End) -> Tensor:
    keys = {"magnitude": -ritz.abs(), "largest": -ritz, "smallest": ritz}[end]
    return torch.argsort(keys, stable=True)


def _restart(
    basis: Tensor, projected: Tensor, ritz: Tensor, vectors: Tensor, order: Tensor, count: int
) -> int:
    """Keeps the best Ritz vectors and the next direction; returns the index of the latter."""
    used = len(ritz)
    keep = order[: min(used - 1, count + 4)]
    chosen = vectors[:, keep].to(basis)
    following = basis[used].clone()
    basis[: len(keep)] = chosen.T @ basis[:used]
    basis[len(keep)] = following
    projected.zero_()
    projected[: len(keep), : len(keep)] = torch.diag(ritz[keep])
    return len(keep)
