"""Eigenpairs at either end of a symmetric operator's spectrum, by Lanczos with full reorthogonalisation.

Full reorthogonalisation (two passes against the whole basis) keeps ghost copies of eigenvalues away; a thick restart
keeps the basis within a memory cap.

The Krylov space of one vector holds a single vector of every eigenspace: an eigenvalue that occurs four times is found
once, and no residual shows it. Where several eigenvalues are wanted, the search therefore goes on from a random vector
orthogonal to all that it has seen, until that vector confirms what was found.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.linalg.interchange import Operator, as_operator
from landscape.linalg.operator import SymmetricOperator
from landscape.linalg.start import length, start_vector

End = Literal["magnitude", "largest", "smallest"]

BASIS_BYTES = 1 << 31
"""Memory for the basis; a longer one is restarted."""

ESCAPE = 0.01
"""Probability with which an eigenvector may escape the confirmation."""

SLACK = 0.02
"""Only eigenvalues that exceed the last of those wanted by this share must not escape."""

CHAIN = 16
"""Basis vectors that are set free for a confirmation where memory is short; it rarely takes more."""


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs ``A vᵢ ≈ λᵢ vᵢ``, the most wanted first.

    Attributes:
        values: Ritz values, ``(k,)`` in float64; NaN if a product was not finite.
        vectors: Orthonormal Ritz vectors, ``(n, k)``.
        residuals: ‖A vᵢ − λᵢ vᵢ‖ as Lanczos knows it, ``(k,)``. Within each lies *an* eigenvalue of A.
        products: Products spent.
        converged: Whether every residual is at most ``tolerance``·|λᵢ| and the values are confirmed, where that was
            looked at.
        confirmed: Whether a random vector confirmed that no eigenvalue was missed: of those beyond the last one found
            by more than 2 %, any whose eigenvector is orthogonal to the search would have escaped with a probability
            of at most 1 %. ``None`` for a single pair, whose value is the same however often it occurs.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool
    confirmed: bool | None = None


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
    """The ``count`` eigenpairs of largest magnitude, or at the upper or the lower end, each as often as it occurs.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        count: How many, at most n.
        end: Which.
        tolerance: Of each residual, relative to |λᵢ|.
        max_products: Gives up, with ``converged=False``, after so many.
        generator: Draws the start, and the vectors that confirm what was found.
        start: A good first vector ``(n,)``, such as the gradient or an earlier eigenvector; a small random part is
            added, so that no eigenvector is orthogonal to it.
        max_basis: Basis vectors at the most; by default what :data:`BASIS_BYTES` holds.
        on_step: Told products, the first Ritz value and the largest of the residuals relative to their values.

    Reference:
        Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix
        Anal. Appl. 22(2), 2000. The confirmation is ours.
    """
    a = as_operator(operator)
    n = a.dimension
    count = min(count, n)
    room = max_basis or max(2 * count + 8, BASIS_BYTES // (8 * n))
    capacity = max(min(n, room, max_products + 1), min(n, count + 2)) + 1
    search = _Search(a, count, end, tolerance, max_products, capacity, on_step)
    search.append(start_vector(a, start, generator))
    search.run(generator)
    confirmed = None if count == 1 else search.confirm(generator)
    return search.pairs(confirmed)


class _Search:
    """Rayleigh–Ritz on a growing orthonormal basis.

    Some rows of the basis have been multiplied with A; the others are pending: directions in which images of the former
    leave their span.
    """

    def __init__(
        self,
        a: SymmetricOperator,
        count: int,
        end: End,
        tolerance: float,
        max_products: int,
        capacity: int,
        on_step: Callable[[int, float, float], None] | None,
    ) -> None:
        self._a, self._count, self._end, self._tolerance = a, count, end, tolerance
        self._max_products, self._on_step = max_products, on_step
        self._basis = torch.zeros(capacity, a.dimension, dtype=a.dtype, device=a.device)
        # Entry (i, j) is the inner product of row i with the image of row j, known where j has been multiplied.
        self._projected = torch.zeros(capacity, capacity, dtype=torch.float64)
        self._rows = 0
        self._multiplied: list[int] = []
        self._pending: list[int] = []
        self._ritz = torch.zeros(0, dtype=torch.float64)
        self._vectors = torch.zeros(0, 0, dtype=torch.float64)
        self._products, self._broken = 0, False

    @property
    def _complete(self) -> bool:
        return len(self._multiplied) == self._a.dimension

    @property
    def _over(self) -> bool:
        return self._broken or self._complete or self._products >= self._max_products

    @property
    def _wanted(self) -> Tensor:
        """The numbers of the Ritz values that are wanted, the most wanted first."""
        return _order(self._ritz, self._end)[: self._count]

    @property
    def _residuals(self) -> Tensor:
        """Those of the wanted pairs: what their images have in the pending directions."""
        outside = self._projected[self._pending][:, self._multiplied]
        norms: Tensor = torch.linalg.vector_norm(outside @ self._vectors[:, self._wanted], dim=0)
        return norms

    @property
    def _met(self) -> bool:
        enough = len(self._ritz) >= self._count and not self._broken
        return enough and bool((self._residuals <= self._tolerance * self._ritz[self._wanted].abs()).all())

    def append(self, vector: Tensor) -> int:
        """A new pending direction, a unit vector orthogonal to the basis."""
        self._basis[self._rows] = vector
        self._pending.append(self._rows)
        self._rows += 1
        return self._rows - 1

    def run(self, generator: torch.Generator) -> None:
        """Goes on until the wanted pairs have small residuals, or there is no more to spend."""
        while not self._over and not self._met:
            if self._rows == len(self._basis):
                self._restart(self._count + 4)
            if not self._pending:  # an invariant subspace: go on in a new direction
                self._append_random(generator)
            outside = self._projected[self._pending][:, self._multiplied]
            share = (outside @ self._vectors[:, self._wanted]).abs().sum(dim=1)
            self._multiply(self._pending[int(share.argmax())])

    def confirm(self, generator: torch.Generator) -> bool:
        """Whether nothing was missed; what was missed at first is then among the pairs."""
        while self._met and not self._complete:
            if self._rows == self._a.dimension:  # no other direction is left: these complete the spectrum
                while self._pending and not self._over:
                    self._multiply(self._pending[0])
                continue
            if len(self._basis) <= min(self._a.dimension, self._rows + CHAIN):
                self._restart(self._count + 1)
            last = self._ritz[self._wanted][-1]
            verdict = self._followed(generator, float(last))
            if verdict is None:
                return False
            self.run(generator)
            if verdict:
                break
        return self._met

    def _followed(self, generator: torch.Generator, last: float) -> bool | None:
        """Lanczos from a random vector orthogonal to the basis: whether it rules out eigenvalues beyond the last one.

        ``True`` if it does, ``False`` if it meets one, ``None`` if products or memory end before. After j steps the
        characteristic polynomial p of the tridiagonal matrix has ‖p(A) r‖ = Π βᵢ, the least that a monic polynomial
        can have. An eigenvector u with eigenvalue μ has |p(μ)| |u·r| ≤ ‖p(A) r‖, so that with all Ritz values within
        the limits, |u·r| is at most Π βᵢ/|μ − θᵢ|, which falls as μ leaves them. For a random r that is improbable
        as soon as it is small beside 1/√n.
        """
        limits = self._limits(last)
        bound = _overlap(self._a.dimension - self._rows)
        head = self._append_random(generator)
        diagonal: list[float] = []
        off: list[float] = []
        while True:
            if self._over or self._rows == len(self._basis):
                return True if self._complete else None
            following = self._multiply(head)
            diagonal.append(float(self._projected[head, head]))
            band = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
            if off:
                side = torch.tensor(off, dtype=torch.float64)
                band += torch.diag(side, 1) + torch.diag(side, -1)
            ritz = torch.linalg.eigvalsh(band)
            if self._broken or not limits[0] < float(ritz[0]) <= float(ritz[-1]) < limits[1]:
                return None if self._broken else False
            if following is None:
                return True
            off.append(float(self._projected[following, head]))
            escapes = [
                sum(math.log(b) for b in off) - float((ritz - limit).abs().log().sum())
                for limit in limits
                if math.isfinite(limit)
            ]
            if max(escapes) <= math.log(bound):
                return True
            head = following

    def _limits(self, last: float) -> tuple[float, float]:
        """Beyond what an eigenvalue would be among those wanted: below the first or above the second."""
        slack = SLACK * abs(last)
        if self._end == "largest":
            return -math.inf, last + slack
        if self._end == "smallest":
            return last - slack, math.inf
        return -abs(last) - slack, abs(last) + slack

    def _append_random(self, generator: torch.Generator) -> int:
        vector = _orthogonalised(self._a.normal(generator), self._basis[: self._rows])[0]
        return self.append(vector / length(vector))

    def _multiply(self, row: int) -> int | None:
        """Multiplies a pending row; returns the new pending direction, if there is one."""
        image = self._a @ self._basis[row]
        self._products += 1
        image, coefficients = _orthogonalised(image, self._basis[: self._rows])
        beta = length(image)
        if not (math.isfinite(beta) and bool(torch.isfinite(coefficients).all())):
            self._broken = True
            return None
        self._pending.remove(row)
        self._multiplied.append(row)
        self._projected[: self._rows, row] = coefficients
        self._projected[row, self._multiplied] = coefficients[self._multiplied]
        self._ritz, self._vectors = torch.linalg.eigh(self._projected[self._multiplied][:, self._multiplied])
        following = None
        if beta > 1e-13 * float(self._ritz.abs().max()) and self._rows < self._a.dimension:
            following = self.append(image / beta)
            self._projected[following] = 0
            self._projected[following, row] = beta
        if self._on_step is not None:
            worst = (self._residuals / self._ritz[self._wanted].abs()).max()
            self._on_step(self._products, float(self._ritz[self._wanted[0]]), float(worst))
        return following

    def _restart(self, keep: int) -> None:
        """Keeps the best Ritz vectors and the pending directions."""
        used = len(self._ritz)
        chosen = _order(self._ritz, self._end)[: min(used - 1, keep)]
        vectors = self._vectors[:, chosen]
        kept, waiting = len(chosen), len(self._pending)
        outside = self._projected[self._pending][:, self._multiplied] @ vectors
        directions = self._basis[self._pending].clone()
        self._basis[:kept] = vectors.T.to(self._basis) @ self._basis[self._multiplied]
        self._basis[kept : kept + waiting] = directions
        self._projected.zero_()
        self._projected[:kept, :kept] = torch.diag(self._ritz[chosen])
        self._projected[kept : kept + waiting, :kept] = outside
        self._multiplied, self._pending = list(range(kept)), list(range(kept, kept + waiting))
        self._rows = kept + waiting
        self._ritz, self._vectors = self._ritz[chosen], torch.eye(kept, dtype=torch.float64)

    def pairs(self, confirmed: bool | None) -> Eigenpairs:
        """What was found."""
        if not len(self._ritz):
            self._broken = True
            self._ritz, self._vectors = torch.full((1,), math.nan).double(), torch.ones(1, 1).double()
            self._multiplied, self._pending = [0], []
        order = self._wanted
        vectors = self._basis[self._multiplied].T @ self._vectors[:, order].to(self._basis)
        values = torch.full_like(self._ritz[order], math.nan) if self._broken else self._ritz[order]
        met = self._met and confirmed is not False
        return Eigenpairs(values, vectors, self._residuals, self._products, met, confirmed)


def _overlap(dimension: int) -> float:
    """What |u·r| of a random unit vector r falls below with a probability of :data:`ESCAPE`.

    It is nearly normal with variance 1/``dimension``, whose density at zero is √(dimension/2π).
    """
    return ESCAPE * math.sqrt(math.pi / (2 * max(1, dimension)))


def _orthogonalised(vector: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """``vector`` less its part in the rows of ``basis``, taken out twice; and that part's coefficients."""
    first = basis @ vector
    vector = vector - first @ basis
    second = basis @ vector
    vector = vector - second @ basis
    return vector, (first + second).double().cpu()


def _order(ritz: Tensor, end: End) -> Tensor:
    keys = {"magnitude": -ritz.abs(), "largest": -ritz, "smallest": ritz}[end]
    return torch.argsort(keys, stable=True)
