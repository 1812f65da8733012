"""The spectral density of a symmetric operator by stochastic Lanczos quadrature."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.isolation.precision import full_precision
from landscape.linalg.basis import Basis
from landscape.linalg.interchange import Operator, as_operator
from landscape.linalg.lanczos import step, tridiagonal


@dataclass(frozen=True)
class Quadrature:
    """One quadrature a probe: ``Σ_k weights[j, k] g(nodes[j, k])`` estimates ``Tr g(A) / n``.

    Attributes:
        nodes: Ritz values, ``(probes, steps)`` in float64.
        weights: Squared first components of the Ritz vectors, ``(probes, steps)``; each row sums to 1.
        products: Products spent.
    """

    nodes: Tensor
    weights: Tensor
    products: int

    def density(self, grid: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """The density on a grid and its standard error over probes, each ``(points,)``.

        Args:
            grid: Eigenvalues at which to evaluate, ``(points,)``.
            width: Standard deviation of the Gaussian that replaces each node.
        """
        curves = self.curves(grid, width)
        error = (
            curves.std(dim=0) / len(curves) ** 0.5 if len(curves) > 1 else torch.full_like(grid, torch.inf)
        )
        return curves.mean(dim=0), error

    def curves(self, grid: Tensor, width: float) -> Tensor:
        """The density of each probe on a grid, ``(probes, points)``; see :meth:`density`."""
        scale = width * (2 * torch.pi) ** 0.5
        curves = [  # one after the other: of all probes at once, they may take more memory than the basis
            weights @ torch.exp(-0.5 * ((grid - nodes[:, None]) / width) ** 2) / scale
            for nodes, weights in zip(self.nodes, self.weights, strict=True)
        ]
        return torch.stack(curves)


@full_precision()
def stochastic_lanczos_quadrature(
    operator: Operator,
    *,
    probes: int,
    steps: int,
    generator: torch.Generator,
    on_step: Callable[[int], None] | None = None,
) -> Quadrature:
    """Lanczos from random signs, with full reorthogonalisation; nodes and weights of Gauss quadrature.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        probes: Independent starts.
        steps: Lanczos steps from each, at most n.
        generator: Draws the seed of the starts.
        on_step: Called with the products spent so far.

    Reference:
        Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38(4), 2017; Ghorbani, Krishnan and Xiao 2019,
        arXiv 1901.10159.
    """
    a, draws = as_operator(operator), Draws.of(generator)
    steps = min(steps, a.dimension)
    nodes, weights, products = np.zeros((probes, steps)), np.zeros((probes, steps)), 0
    basis = Basis(a, steps)
    for j in range(probes):
        basis.rows = 0
        basis.head = a.rademacher(draws, range(j, j + 1))[:, 0]
        basis.append(math.sqrt(a.dimension))
        diagonal: list[float] = []
        off: list[float] = []
        for k in range(steps):
            result = step(a, basis, k, {k - 1: off[-1]} if off else {})
            products += 1
            if on_step is not None:
                on_step(products)
            diagonal.append(result.alpha)
            # The space is invariant but for rounding in float32: what is left of the image is noise.
            if k + 1 == steps or result.beta <= 1e-7 * max(1e-30, max(map(abs, diagonal))):
                break
            off.append(result.beta)
            basis.append(result.beta)
        values, vectors = np.linalg.eigh(tridiagonal(diagonal, off))
        nodes[j, : len(values)] = values
        weights[j, : len(values)] = vectors[0] ** 2
    return Quadrature(torch.from_numpy(nodes), torch.from_numpy(weights), products)
