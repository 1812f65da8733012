"""The symmetry of attention, and the geometry of weights in which the points that it connects are one.

A head uses queries and keys only in a product GHᵀ, and values and outputs in another, so that (GA⁻¹, HAᵀ) is the same
function for every invertible A. A metric on such pairs that A does not change has horizontal directions, orthogonal to
all that A does, and geodesics that stay horizontal.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.curvature.heads import Pieces, whole_heads
from landscape.draws import Draws
from landscape.objective import Objective
from landscape.reductions import exact

Metric = Literal["inv", "mix"]
"""Tr(P⁻¹ξᵀξ) + Tr(Q⁻¹ζᵀζ) for a direction (ξ, ζ) at (G, H), or Tr(Qξᵀξ) + Tr(Pζᵀζ); P = GᵀG and Q = HᵀH."""

Matrices = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Pair:
    """Where G ``(n, h)`` and H ``(m, h)`` lie in θ: the coordinates of their entries, each in no other pair."""

    left: Tensor
    right: Tensor

    def of(self, vector: Tensor) -> Matrices:
        """The two matrices in a vector ``(n,)``."""
        return vector[self.left], vector[self.right]

    def put(self, vector: Tensor, matrices: Matrices) -> None:
        """Writes the two matrices into a vector ``(n,)``."""
        vector[self.left], vector[self.right] = matrices


def pairs_of(objective: Objective) -> list[Pair]:
    """Queries with keys and values with outputs, of every head whose weights are known and free."""
    layout = objective.layout
    places = layout.named(torch.arange(layout.dimension, device=objective.point.device))

    def matrix(pieces: Pieces, shared: int = 1) -> Tensor:
        """Rows of weights, with their biases as one more column, as a matrix with a column a row."""
        parts = []
        for name, rows in pieces:
            part = places[name].narrow(rows.dim, rows.start, rows.count)
            part = part.T if rows.dim == 1 else part
            parts.append(part.reshape(rows.count, -1))
        joined = torch.cat(parts, dim=1)
        return joined.view(shared, -1, joined.shape[1]).transpose(1, 2).flatten(0, 1)

    pairs = []
    for head in whole_heads(objective.network, layout.names):
        if head.queries and head.keys:
            pairs.append(Pair(matrix(head.queries, head.shared), matrix(head.keys)))
        if head.values and head.outputs:
            ((name, columns),) = head.outputs
            output = places[name].narrow(columns.dim, columns.start, columns.count)
            output = output if columns.dim == 1 else output.T
            # For each of the heads that share these values.
            blocks = output.reshape(len(output), head.shared, -1).transpose(0, 1).flatten(0, 1)
            pairs.append(Pair(matrix(head.values), blocks))
    return pairs


class Chart:
    """The metric and the geodesics at one pair (G, H), in double precision.

    Args:
        point: G ``(n, h)`` and H ``(m, h)``, of full column rank.
        metric: Which metric.

    Reference:
        da Silva, Dangel and Oore 2025, arXiv 2505.05409, eq. 9 to 12. The Sylvester equation that is printed there for
        the projection of ``inv`` has its unknown transposed.
    """

    def __init__(self, point: Matrices, metric: Metric) -> None:
        self.g, self.h = map(exact, point)
        self.metric = metric
        self.p, self.q = _gram(self.g), _gram(self.h)
        self.p_inverse, self.q_inverse = torch.linalg.inv(self.p), torch.linalg.inv(self.q)

    def gradient(self, slopes: Matrices) -> Matrices:
        """The steepest direction of a function with these derivatives."""
        of_g, of_h = slopes
        if self.metric == "inv":
            return of_g @ self.p, of_h @ self.q
        return of_g @ self.q_inverse, of_h @ self.p_inverse

    def squared_norm(self, direction: Matrices) -> Tensor:
        """The squared length ``()`` of a direction."""
        x, z = direction
        of_g, of_h = (self.p_inverse, self.q_inverse) if self.metric == "inv" else (self.q, self.p)
        total: Tensor = (x @ of_g * x).sum() + (z @ of_h * z).sum()
        return total

    def horizontal(self, direction: Matrices) -> Matrices:
        """The part of a direction that is orthogonal to what the symmetry does, (GB, −HBᵀ) for all B."""
        x, z = direction
        if self.metric == "mix":
            shift = (z.T @ self.h @ self.q_inverse - self.p_inverse @ self.g.T @ x) / 2
        else:
            # ΛᵀPQ + PQΛᵀ = PHᵀζ − ξᵀGQ, in the basis in which PQ is diagonal.
            values, vectors = torch.linalg.eigh(self.p)
            root = vectors * values.clamp(min=0).sqrt() @ vectors.T
            inverse = torch.linalg.inv(root)
            middle, basis = torch.linalg.eigh(root @ self.q @ root)
            right = self.p @ self.h.T @ z - x.T @ self.g @ self.q
            inner = basis.T @ (inverse @ right @ root) @ basis / (middle[:, None] + middle[None, :])
            shift = (root @ basis @ inner @ basis.T @ inverse).T
        return x + self.g @ shift, z - self.h @ shift.T

    def along(self, direction: Matrices) -> Matrices:
        """The point after time 1 on the geodesic with this velocity, to second order: γ + ξ − ½Γ(ξ, ξ)."""
        (x, z), (g, h) = direction, (self.g, self.h)
        gx, hz = x.T @ g + g.T @ x, z.T @ h + h.T @ z
        if self.metric == "inv":
            of_g = -x @ self.p_inverse @ gx + g @ self.p_inverse @ (x.T @ x)
            of_h = -z @ self.q_inverse @ hz + h @ self.q_inverse @ (z.T @ z)
        else:
            of_g = (x @ hz - g @ (z.T @ z)) @ self.q_inverse
            of_h = (z @ gx - h @ (x.T @ x)) @ self.p_inverse
        return g + x - of_g / 2, h + z - of_h / 2

    def pulled_back(self, direction: Matrices, slopes: Matrices) -> Matrices:
        """The derivatives by the velocity of a function whose derivatives at the end of its geodesic are these."""
        _, pull, *_ = torch.func.vjp(lambda x, z: self.along((x, z)), *direction)
        slope_g, slope_h = pull((exact(slopes[0]), exact(slopes[1])))
        return slope_g, slope_h


def moved_along_symmetry(objective: Objective, pairs: list[Pair], draws: Draws) -> Tensor:
    """A point ``(n,)`` that is the same function if the pairs have the symmetry: (GA⁻¹, HAᵀ), A near the identity."""
    point = objective.point.clone()
    for number, pair in enumerate(pairs):
        g, h = map(exact, pair.of(objective.point))
        size = g.shape[1]
        signs = draws.fold(number).signs(size, size, like=g)
        a = torch.eye(size, dtype=g.dtype, device=g.device) + 0.3 * signs / size**0.5
        pair.put(point, ((g @ torch.linalg.inv(a)).to(point), (h @ a.T).to(point)))
    return point


def _gram(matrix: Tensor) -> Tensor:
    """MᵀM ``(h, h)``, with a part of rounding size on its diagonal, so that it has an inverse."""
    gram = matrix.T @ matrix
    tiny = 10 * torch.finfo(gram.dtype).eps * gram.diagonal().mean()
    return gram + tiny * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
