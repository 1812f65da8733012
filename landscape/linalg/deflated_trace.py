"""The trace of a symmetric operator: computed on a Krylov space that grows as long as that pays, random on the rest."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.isolation.precision import full_precision
from landscape.linalg.hutchpp import orthonormal
from landscape.linalg.operator import SymmetricOperator
from landscape.reductions import dot

# Columns by which Q grows: few, because a space of many steps holds more of the large eigenvalues than one of wide
# blocks; more than one, so that equal eigenvalues are found.
BLOCK = 2
# Columns by whose effect it is seen whether growing pays: single blocks are an uneven measure of it.
WINDOW = 8
# Quadratic forms by which is decided.
FIRST = 8

Parts = Callable[[Tensor, Tensor], Tensor]
"""The inner products of the columns of two ``(length, K)`` by parts of the coordinates, ``(K, parts)``."""


class DeflatedTrace:
    """Independent unbiased draws of ``Tr A = Tr QᵀAQ + Tr PAP``, with P = I − QQᵀ.

    Q spans ``[S, AS, A²S, …]`` of random signs S, so that every product both widens Q and is part of ``AQ``: a column
    costs one product, where a sketch ``A S`` costs two. :meth:`draw` gives the exact first part plus a quadratic form
    ``vᵀPAPv`` of random signs v that are independent of Q, so that a draw is unbiased. A few others are drawn, and
    their images computed, before Q grows, so that their forms on the rest need no product: they show whether Q should
    grow. They are no draws, because Q stops growing where they happen to agree.

    Args:
        a: A.
        draws: Of S and v.
        parts: Divides the trace by parts; those of all coordinates together by default.

    Reference:
        Persson, Cortinovis and Kressner, "Improved variants of the Hutch++ algorithm for trace estimation", 2022,
        arXiv 2109.10659: a sketch that grows while the sum of both parts' products falls. Chen and Hallman,
        "Krylov-aware stochastic trace estimation", 2023, arXiv 2205.01736: a block Krylov space, not a sketch.
    """

    @full_precision()
    def __init__(self, a: SymmetricOperator, draws: Draws, parts: Parts | None = None) -> None:
        self._a, self._draws = a, draws
        self._parts = parts or (lambda x, y: dot(x, y).unsqueeze(1))
        self._blocks: list[Tensor] = []
        self._images: list[Tensor] = []
        self._inner = torch.zeros(0, 0, dtype=torch.float64, device="cpu")  # QᵀAQ
        self._spared: list[float] = []
        self._probes = a.rademacher(draws.fold(1), range(FIRST)).contiguous()
        self._probe_images = torch.cat(
            [a @ part.contiguous() for part in torch.split(self._probes, FIRST // 2, dim=1)], 1
        )
        self._plain = a.dot(self._probes, self._probe_images).cpu().double()
        self._next = a.rademacher(draws.fold(0), range(min(BLOCK, a.dimension)))
        self._exact: Tensor | None = None

    @property
    def columns(self) -> int:
        """Those of Q, each one product."""
        return len(self._inner)

    @full_precision()
    def forms(self) -> Tensor:
        """The first forms as they are with the present Q, ``(FIRST,)``."""
        if not self._blocks:
            return self._plain
        weights, images = self._coefficients(self._probes), self._coefficients(self._probe_images)
        rest = self._plain - 2 * (weights * images).sum(0) + (weights * (self._inner @ weights)).sum(0)
        return self._inner.trace() + rest

    def spared(self) -> float:
        """The fall of the variance of a draw by each of the last few columns; infinite before there are enough.

        That variance is at most ``2 ‖PAP‖² = 2 (‖A‖² − 2 ‖AQ‖² + ‖QᵀAQ‖²)``, in Frobenius norms, of which the first
        does not change and the others are known. The first block holds nothing but random directions.
        """
        blocks = WINDOW // BLOCK
        return math.inf if len(self._spared) <= blocks else sum(self._spared[-blocks:]) / WINDOW

    @full_precision()
    def grow(self) -> bool:
        """Adds a block to Q; false if there is no direction left."""
        block = self._orthogonal(self._next[:, : self._a.dimension - self.columns])
        if not block.shape[1]:
            return False
        image = self._a @ block.contiguous()
        self._blocks.append(block)
        self._images.append(image)
        before, size = self.columns, float(self._a.dot(image, image).sum())
        cross = self._coefficients(image)
        size_now = before + block.shape[1]
        inner = torch.zeros(size_now, size_now, dtype=torch.float64, device="cpu")
        inner[:before, :before] = self._inner
        inner[:, before:] = cross
        inner[before:, :] = cross.T
        inner[before:, before:] = (cross[before:] + cross[before:].T) / 2
        grown = float(inner.square().sum() - self._inner.square().sum())
        self._inner = inner
        self._spared.append(2 * (2 * size - grown))
        self._next = image
        return True

    @full_precision()
    def draw(self, numbers: range) -> Tensor:
        """Draws of these numbers by parts, ``(numbers, parts)`` in float64; Q does not grow any more."""
        if self._exact is None:
            self._exact = self._on_the_space()
            self._probes = self._probe_images = self._next = self._probes[:, :0]
        return self._exact + self._on_the_rest(self._a.rademacher(self._draws.fold(2), numbers))

    def _coefficients(self, vectors: Tensor) -> Tensor:
        """``Qᵀ vectors``."""
        return self._a.total(torch.cat([block.T @ vectors for block in self._blocks])).cpu().double()

    def _less(self, vectors: Tensor, blocks: list[Tensor], factors: Tensor) -> Tensor:
        """``vectors − blocks · factors``."""
        first = 0
        for block in blocks:
            part = factors[first : first + block.shape[1]].to(vectors)
            vectors, first = torch.addmm(vectors, block, part, alpha=-1), first + len(part)
        return vectors

    def _orthogonal(self, columns: Tensor) -> Tensor:
        """An orthonormal basis of what columns add to Q; made twice, as the first may leave but rounding."""
        for _ in range(2):
            if self._blocks:
                columns = self._less(columns, self._blocks, self._coefficients(columns))
            columns = orthonormal(self._a, columns)
        return columns

    def _on_the_space(self) -> Tensor:
        """The diagonal of ``QQᵀA + AQQᵀ − QQᵀAQQᵀ`` summed by parts, ``(parts,)``; in all, Tr QᵀAQ."""
        total = self._summed(self._probes[:, :1], 0 * self._probes[:, :1])[0]
        first = 0
        for block, image in zip(self._blocks, self._images, strict=True):
            inner = self._inner[:, first : first + block.shape[1]]
            first += block.shape[1]
            twice = self._less(2 * image, self._blocks, inner)
            total = total + self._summed(block, twice).sum(0)
        return total

    def _on_the_rest(self, probes: Tensor) -> Tensor:
        """Quadratic forms with PAP by parts, ``(K, parts)``."""
        if not self._blocks:
            return self._summed(probes, self._a @ probes.contiguous())
        rest = self._less(probes, self._blocks, self._coefficients(probes))
        image = self._a @ rest.contiguous()
        return self._summed(rest, self._less(image, self._blocks, self._coefficients(image)))

    def _summed(self, x: Tensor, y: Tensor) -> Tensor:
        return self._a.total(self._parts(x, y)).cpu().double()
