"""Eigenpairs at either end of a symmetric operator's spectrum, by Lanczos with full reorthogonalisation.

Orthogonalisation of every image against the whole basis keeps ghost copies of eigenvalues away; a thick restart keeps
the basis within a memory cap, and that of a single pair short however many products it takes.

The Krylov space of one vector contains a single vector of every eigenspace: an eigenvalue that occurs four times is
found once, and no residual shows it. For several eigenvalues the search therefore continues from a random vector
orthogonal to the whole basis, until that vector confirms the result.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.draws import Draws
from landscape.isolation.precision import full_precision
from landscape.linalg.basis import Array, Basis
from landscape.linalg.interchange import Operator, as_operator
from landscape.linalg.operator import SymmetricOperator

End = Literal["magnitude", "largest", "smallest"]
Progress = Callable[[int, float, float], None]

BASIS_BYTES = 1 << 31  # memory for the basis of several pairs; a longer one is restarted
SHORT = 8  # rows of the basis of one pair: benchmarks/restarts.py shows what fewer and more cost
ESCAPE = 0.01  # the probability with which an eigenvector may escape the confirmation
SLACK = 0.02  # only eigenvalues that exceed the last requested one by this share must not escape
CHAIN = 16  # rows that a restart makes free for a confirmation, which rarely takes more


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs ``A vᵢ ≈ λᵢ vᵢ``, from the end of the spectrum inwards.

    Attributes:
        values: Ritz values, ``(k,)`` in float64; NaN if a product was not finite.
        vectors: Orthonormal Ritz vectors, ``(n, k)``.
        residuals: ‖A vᵢ − λᵢ vᵢ‖ as Lanczos knows it, ``(k,)``. Within each lies *an* eigenvalue of A.
        products: Products spent.
        converged: Whether every residual is at most ``tolerance``·|λᵢ| and the values are confirmed, where that was
            checked.
        confirmed: Whether a random vector confirmed that no eigenvalue was missed: of those beyond the last value
            by more than 2 %, any whose eigenvector is orthogonal to the search would have escaped with a probability
            of at most 1 %. ``None`` for a single pair, whose value is the same however often it occurs.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool
    confirmed: bool | None = None


@full_precision()
def lanczos(
    operator: Operator,
    *,
    count: int = 1,
    end: End = "magnitude",
    tolerance: float = 1e-3,
    max_products: int = 200,
    generator: torch.Generator,
    start: Tensor | Callable[[], Tensor] | None = None,
    max_basis: int | None = None,
    on_step: Progress | None = None,
) -> Eigenpairs:
    """The ``count`` eigenpairs of largest magnitude, or at the upper or the lower end, each as often as it occurs.

    Args:
        operator: A; anything with a square ``shape`` and ``@``.
        count: The number of pairs, at most n.
        end: The end of the spectrum.
        tolerance: Of each residual, relative to |λᵢ|.
        max_products: The most products; beyond them the pairs are not converged.
        generator: Draws the seed of the start, and of the vectors that confirm the result.
        start: A good first vector ``(n,)``, such as the gradient or an earlier eigenvector, or what computes it where
            nobody is to keep it; a small random part is added, so that no eigenvector is orthogonal to it.
        max_basis: The most basis vectors; by default :data:`SHORT` for one pair, and what :data:`BASIS_BYTES` holds
            for several, whose confirmation needs room.
        on_step: Called with products, the first Ritz value and the largest of the residuals relative to their values.

    Reference:
        Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix
        Anal. Appl. 22(2), 2000. The confirmation is ours.
    """
    a, draws = as_operator(operator), Draws.of(generator)
    n = a.dimension
    count = min(count, n)
    # A restart keeps count + 4 Ritz vectors; a basis that is hardly longer would spend all products on restarts.
    room = max_basis or (SHORT if count == 1 else max(2 * count + 8, BASIS_BYTES // (8 * n)))
    basis = Basis(a, longest(n, count, max_products, room))
    search = _Search(a, count, end, tolerance, max_products, basis, draws, on_step)
    search.append(a.start(start() if callable(start) else start, draws))
    search.run()
    confirmed = None if count == 1 else search.confirm()
    return search.pairs(confirmed)


def longest(dimension: int, count: int, max_products: int, room: int) -> int:
    """The most rows of the basis of a search for ``count`` pairs, where memory has room for so many."""
    return max(min(dimension, room, max_products + 1), min(dimension, count + 2)) + 1


@dataclass(frozen=True)
class Step:
    """One Lanczos step, of which the head of the basis holds what is left of the image.

    Attributes:
        alpha: The inner product of vector and image, in float64.
        beta: The norm of the rest.
        coefficients: Those of the image in the basis, ``(m,)``.
    """

    alpha: float
    beta: float
    coefficients: Array


def step(a: SymmetricOperator, basis: Basis, row: int, known: Mapping[int, float]) -> Step:
    """Multiplies a row of the basis and orthogonalises the image against all of it, in its head.

    Args:
        a: The matrix.
        basis: Its rows.
        row: The number of the row.
        known: The coefficients of the image in other rows that follow from earlier images, as A is symmetric. With them
            removed first, one pass against the basis removes rounding errors only, and rarely loses digits itself.
    """
    vector = basis[row]
    basis.head = head = (a @ vector).detach().to(vector)
    alpha = a.dot(vector, head)
    head.addcmul_(vector, alpha.to(head), value=-1)
    basis.subtract(known)
    (value,), beta, coefficients = basis.orthogonalise(alpha)
    coefficients[row] += value
    for number, factor in known.items():
        coefficients[number] += factor
    return Step(value, beta, coefficients)


def tridiagonal(diagonal: list[float], off: list[float]) -> Array:
    """The symmetric matrix of the recurrence, ``(k, k)``."""
    return np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1) if off else np.diag(diagonal)


@dataclass
class _Search:
    """Rayleigh–Ritz on a growing orthonormal basis.

    Some rows of the basis have been multiplied with A; the others are pending: directions in which images of the former
    leave their span.
    """

    a: SymmetricOperator
    count: int
    end: End
    tolerance: float
    max_products: int
    basis: Basis
    draws: Draws
    on_step: Progress | None

    def __post_init__(self) -> None:
        # Entry (i, j) is the inner product of row i with the image of row j, known where j has been multiplied.
        self._projected = np.zeros((self.basis.capacity, self.basis.capacity))
        self._multiplied: list[int] = []
        self._pending: list[int] = []
        self._ritz: Array = np.zeros(0)
        self._vectors: Array = np.zeros((0, 0))
        self._products, self._drawn, self._broken = 0, 0, False

    @property
    def _complete(self) -> bool:
        return len(self._multiplied) == self.a.dimension

    @property
    def _over(self) -> bool:
        return self._broken or self._complete or self._products >= self.max_products

    @property
    def _requested(self) -> NDArray[np.int64]:
        """The numbers of the requested Ritz values, from the end of the spectrum inwards."""
        return _order(self._ritz, self.end)[: self.count]

    @property
    def _residuals(self) -> Array:
        """Those of the requested pairs: the parts of their images in the pending directions."""
        outside = self._projected[np.ix_(self._pending, self._multiplied)]
        return np.asarray(np.linalg.norm(outside @ self._vectors[:, self._requested], axis=0))

    @property
    def _met(self) -> bool:
        enough = len(self._ritz) >= self.count and not self._broken
        return enough and bool(
            (self._residuals <= self.tolerance * np.abs(self._ritz[self._requested])).all()
        )

    @property
    def _is_full(self) -> bool:
        return self.basis.rows == self.basis.capacity

    def append(self, vector: Tensor) -> int:
        """A new pending direction, a unit vector orthogonal to the basis, which is written to."""
        self.basis.head = vector
        return self._await(1.0)

    def _await(self, scale: float) -> int:
        """Makes a pending direction of the head of the basis, whose norm is given."""
        self._pending.append(self.basis.append(scale))
        return self._pending[-1]

    def run(self) -> None:
        """Continues until the requested pairs have small residuals, or the budget is spent."""
        while not self._over and not self._met:
            if self._is_full:
                self._restart(3 if self.count == 1 else self.count + 4)
            if not self._pending:  # an invariant subspace: continue in a new direction
                self._append_random()
            outside = self._projected[np.ix_(self._pending, self._multiplied)]
            share = np.abs(outside @ self._vectors[:, self._requested]).sum(axis=1)
            self._multiply(self._pending[int(share.argmax())])

    def confirm(self) -> bool:
        """Whether nothing was missed; eigenpairs that were missed at first are then among the pairs."""
        while self._met and not self._complete:
            if self.basis.rows == self.a.dimension:  # no other direction is left: these complete the spectrum
                while self._pending and not self._over:
                    self._multiply(self._pending[0])
                if self._pending:  # the budget is spent before the spectrum is complete
                    return False
                continue
            if self.basis.capacity <= min(self.a.dimension, self.basis.rows + CHAIN):
                self._restart(self.count + 1)
            verdict = self._followed(float(self._ritz[self._requested][-1]))
            if verdict is None:
                return False
            self.run()
            if verdict:
                break
        return self._met

    def _followed(self, last: float) -> bool | None:
        """Lanczos from a random vector orthogonal to the basis: whether it rules out eigenvalues beyond the last one.

        ``True`` if it does, ``False`` if it meets one, ``None`` if products or memory end before. After j steps the
        characteristic polynomial p of the tridiagonal matrix has ‖p(A) r‖ = Π βᵢ, the least that a monic polynomial
        can have. An eigenvector u with eigenvalue μ has |p(μ)| |u·r| ≤ ‖p(A) r‖, so that with all Ritz values within
        the limits, |u·r| is at most Π βᵢ/|μ − θᵢ|, which falls as μ leaves them. For a random r that is improbable
        as soon as it is small beside 1/√n.
        """
        low, high = limits(self.end, last)
        bound = overlap(self.a.dimension - self.basis.rows)
        head = self._append_random()
        diagonal: list[float] = []
        off: list[float] = []
        while True:
            if self._over or self._is_full:
                return True if self._complete else None
            following = self._multiply(head)
            diagonal.append(float(self._projected[head, head]))
            ritz = np.linalg.eigvalsh(tridiagonal(diagonal, off))
            if self._broken or not low < ritz[0] <= ritz[-1] < high:
                return None if self._broken else False
            if following is None:
                return True
            off.append(float(self._projected[following, head]))
            betas = sum(math.log(beta) for beta in off)
            finite = [limit for limit in (low, high) if math.isfinite(limit)]
            escapes = [betas - float(np.log(np.abs(ritz - limit)).sum()) for limit in finite]
            if max(escapes) <= math.log(bound):
                return True
            head = following

    def _append_random(self) -> int:
        self._drawn += 1  # number 0 is in the start
        self.basis.head = self.a.normal(self.draws, self._drawn)
        return self._await(self.basis.orthogonalise()[1])

    def _multiply(self, row: int) -> int | None:
        """Multiplies a pending row; returns the new pending direction, if there is one."""
        known = {other: float(self._projected[row, other]) for other in self._multiplied}
        result = step(self.a, self.basis, row, {other: factor for other, factor in known.items() if factor})
        self._products += 1
        if not (math.isfinite(result.beta) and np.isfinite(result.coefficients).all()):
            self._broken = True
            return None
        self._pending.remove(row)
        self._multiplied.append(row)
        self._projected[: self.basis.rows, row] = result.coefficients
        self._projected[row, self._multiplied] = result.coefficients[self._multiplied]
        self._ritz, self._vectors = np.linalg.eigh(
            self._projected[np.ix_(self._multiplied, self._multiplied)]
        )
        following = None
        # A rest at the level of float64's rounding is no direction; what float32 leaves is above it and harmless.
        if result.beta > 1e-13 * np.abs(self._ritz).max() and self.basis.rows < self.a.dimension:
            following = self._await(result.beta)
            self._projected[following] = 0
            self._projected[following, row] = result.beta
        if self.on_step is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                worst = (self._residuals / np.abs(self._ritz[self._requested])).max()
            self.on_step(self._products, float(self._ritz[self._requested[0]]), float(worst))
        return following

    def _restart(self, keep: int) -> None:
        """Keeps the best Ritz vectors and the pending directions."""
        best = _order(self._ritz, self.end)[: min(len(self._ritz) - 1, keep)]
        vectors = self._vectors[:, best]
        kept, rows = len(best), len(best) + len(self._pending)
        outside = self._projected[np.ix_(self._pending, self._multiplied)] @ vectors
        factors = np.zeros((rows, self.basis.rows))
        factors[:kept, self._multiplied] = vectors.T
        factors[range(kept, rows), self._pending] = 1
        self.basis.recombine(factors)
        self._projected[:] = 0
        self._projected[:kept, :kept] = np.diag(self._ritz[best])
        self._projected[kept:rows, :kept] = outside
        self._multiplied, self._pending = list(range(kept)), list(range(kept, rows))
        self._ritz, self._vectors = self._ritz[best], np.eye(kept)

    def pairs(self, confirmed: bool | None) -> Eigenpairs:
        """The result."""
        if not len(self._ritz):  # already the first product was not finite
            self._broken = True
            self._ritz, self._vectors = np.full(1, math.nan), np.ones((1, 1))
            self._multiplied, self._pending = [0], []
        order = self._requested
        values, residuals = self._ritz[order] * (math.nan if self._broken else 1), self._residuals
        met = self._met and confirmed is not False
        factors = np.zeros((self.basis.rows, len(order)))
        factors[self._multiplied] = self._vectors[:, order]
        return Eigenpairs(
            values=torch.from_numpy(values),
            vectors=self.basis.combined(factors),
            residuals=torch.from_numpy(residuals),
            products=self._products,
            converged=met,
            confirmed=confirmed,
        )


def limits(end: End, last: float) -> tuple[float, float]:
    """An eigenvalue below the first or above the second would belong to the requested ones, of which one is last."""
    slack = SLACK * abs(last)
    if end == "magnitude":
        return -abs(last) - slack, abs(last) + slack
    return (-math.inf, last + slack) if end == "largest" else (last - slack, math.inf)


def overlap(dimension: int) -> float:
    """The value below which |u·r| of a random unit vector r falls with the probability :data:`ESCAPE`.

    It is nearly normal with variance 1/``dimension``, whose density at zero is √(dimension/2π).
    """
    return ESCAPE * math.sqrt(math.pi / (2 * max(1, dimension)))


def _order(ritz: Array, end: End) -> NDArray[np.int64]:
    keys = {"magnitude": -np.abs(ritz), "largest": -ritz, "smallest": ritz}[end]
    return np.argsort(keys, kind="stable")
