"""Tensors, blocks of a network and heads of attention as parts of θ, and the Hessian's diagonal blocks for them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.curvature.heads import Rows, rows_of_heads
from landscape.errors import UsageError
from landscape.linalg import SymmetricOperator
from landscape.objective import Objective
from landscape.objective.blocks import parameters_by_block

Partition = Literal["tensor", "block", "head"]
"""Parameter tensors; blocks of the network, and the layers outside them; heads of attention."""


@dataclass(frozen=True)
class Part:
    """Some coordinates of θ: parameter tensors, or rows of them.

    Attributes:
        name: As in a table.
        pieces: The number of a tensor in the layout, and which of its rows; several of one tensor follow each other.
    """

    name: str
    pieces: tuple[tuple[int, Rows | None], ...]

    @property
    def tensors(self) -> tuple[int, ...]:
        """The numbers of the tensors."""
        return tuple(dict.fromkeys(number for number, _ in self.pieces))

    def size(self, objective: Objective) -> int:
        """The number of coordinates, m, that this process holds."""
        return sum(view.numel() for view in self._views(objective, objective.point))

    def of(self, objective: Objective, vectors: Tensor) -> Tensor:
        """The coordinates ``(m,)`` or ``(m, K)`` of vectors ``(n,)`` or ``(n, K)``."""
        views = self._views(objective, vectors.contiguous())
        return torch.cat([view.reshape(-1, *vectors.shape[1:]) for view in views])

    def padded(self, objective: Objective, part: Tensor) -> Tensor:
        """The vectors ``(n,)`` or ``(n, K)`` with these coordinates, and zeros elsewhere."""
        vectors = part.new_zeros(len(objective.point), *part.shape[1:])
        first = 0
        for view in self._views(objective, vectors):
            size = view.numel() // (part.shape[1] if part.ndim > 1 else 1)
            view.copy_(part[first : first + size].view_as(view))
            first += size
        return vectors

    def _views(self, objective: Objective, vectors: Tensor) -> list[Tensor]:
        views = []
        for number, rows in self.pieces:
            entry = objective.layout.entries[number]
            view = vectors[entry.offset : entry.offset + entry.size].view(*entry.shape, *vectors.shape[1:])
            views.append(view if rows is None else view.narrow(rows.dim, rows.start, rows.count))
        return views


def parts_by(objective: Objective, by: Partition) -> list[Part]:
    """The parts of θ, in the order of the network; heads leave out what belongs to none.

    Raises:
        UsageError: The network has no heads that are known, or they are not free.
    """
    names = objective.layout.names
    number = {name: k for k, name in enumerate(names)}
    if by == "tensor":
        return [Part(name, ((k, None),)) for name, k in number.items()]
    if by == "block":
        groups = parameters_by_block(objective.network, names)
        return [
            Part(name or "network", tuple((number[member], None) for member in members))
            for name, members in groups.items()
        ]
    heads = rows_of_heads(objective.network, names)
    if not heads:
        raise UsageError(
            f"by=head: {type(objective.network).__name__} has no free attention weights whose heads are known "
            "(nn.MultiheadAttention, or a module with a number of heads and projections such as qkv, c_attn, q_proj, "
            "k_proj and v_proj); use by=block or by=tensor"
        )
    return [
        Part(name, tuple((number[member], rows) for member, rows in pieces)) for name, pieces in heads.items()
    ]


def block_of_hessian(objective: Objective, part: Part) -> SymmetricOperator:
    """The diagonal block of ∇²L(θ) for a part of θ; a product costs less than one with all of it."""

    def product(vectors: Tensor) -> Tensor:
        return part.of(
            objective, objective.hessian_product(part.padded(objective, vectors), block=part.tensors)
        )

    shards, point = objective.shards, objective.point
    size, ranges = part.size(objective), None
    if shards.ranges is not None:
        size, ranges = _divided(objective, part)
    return SymmetricOperator(product, size, point.device, point.dtype, ranges=ranges, total=shards.total)


def _divided(objective: Objective, part: Part) -> tuple[int, tuple[range, ...]]:
    """The size of a part of weights that processes divide, and which of its coordinates are held here."""
    if any(rows is not None for _, rows in part.pieces):
        raise UsageError(
            "by=head: processes that divide the weights hold no whole rows of a tensor; use by=block or by=tensor"
        )
    size, ranges = 0, list[range]()
    for number in part.tensors:
        whole, places = objective.shards.block(number)
        ranges += [range(size + place.start, size + place.stop) for place in places or ()]
        size += whole
    return size, tuple(ranges)
