"""The permutations that bring the weights of one network closest to those of another, by coordinate descent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from landscape.alignment.axes import Axis, Order

Orders = dict[Axis, Order]
Array = NDArray[np.float64]

_MOST_SWEEPS = 200  # a sweep that changes nothing ends the descent, long before this
_GAIN = 1e-12  # of the sizes of the weights: a smaller gain is rounding


@dataclass(frozen=True)
class Matching:
    """The best of several descents.

    Attributes:
        orders: For each free axis its permutation.
        similarity: ``⟨θ_a, P(θ_b)⟩``, the inner product of the weights.
        start: The start whose descent it is, counted from 0.
        sweeps: How often that descent went over all axes.
    """

    orders: Mapping[Axis, Order]
    similarity: float
    start: int
    sweeps: int


class Weights:
    """The weights of two networks with the axes of their tensors."""

    def __init__(self, pairs: Sequence[tuple[Array, Array, Sequence[Axis]]], free: Sequence[Axis]) -> None:
        self._pairs, self.free = pairs, free
        self._where: dict[Axis, list[tuple[int, int]]] = {leaf: [] for leaf in free}
        for number, (_, _, axes) in enumerate(pairs):
            for dimension, axis in enumerate(axes):
                for leaf in {*axis.leaves()} & self._where.keys():
                    self._where[leaf].append((number, dimension))
        self.scale = sum(float(np.linalg.norm(a) * np.linalg.norm(b)) for a, b, _ in pairs)

    def similarity(self, orders: Mapping[Axis, Order]) -> float:
        """``⟨θ_a, P(θ_b)⟩``."""
        return sum(float(np.vdot(a, permuted(b, axes, [orders] * len(axes)))) for a, b, axes in self._pairs)

    def gains(self, leaf: Axis, orders: Mapping[Axis, Order]) -> Array:
        """``(s, s)``: entry ij is what the similarity gains if unit j of the second network takes place i."""
        return sum(
            (mine @ theirs.T for mine, theirs in self._rows(leaf, orders)), np.zeros((leaf.size, leaf.size))
        )

    def gains_without(self, leaf: Axis, orders: Mapping[Axis, Order]) -> Array:
        """The same while some axes have no permutation yet: where they occur, sorted weights are compared.

        That is the most that any permutation of the others could gain. Of two copies that differ by a permutation, only
        units that belong together have the same sorted weights, and the assignment of the largest sum finds them all
        (Cauchy–Schwarz), one axis after the other.
        """
        gains = np.zeros((leaf.size, leaf.size))
        rows = self._rows(leaf, orders)
        for (number, _), (mine, theirs) in zip(self._where[leaf], rows, strict=True):
            others = {other for axis in self._pairs[number][2] for other in axis.leaves()} - {leaf}
            if any(other in self._where and other not in orders for other in others):
                mine, theirs = np.sort(mine, axis=1), np.sort(theirs, axis=1)
            gains += mine @ theirs.T
        return gains

    def is_linear(self, leaf: Axis) -> bool:
        """Whether the similarity is linear in the permutation: no tensor has the axis twice."""
        numbers = [number for number, _ in self._where[leaf]]
        return len(set(numbers)) == len(numbers)

    def _rows(self, leaf: Axis, orders: Mapping[Axis, Order]) -> Iterator[tuple[Array, Array]]:
        """For each occurrence of an axis the weights of its units in rows ``(s, …)``, all other axes permuted."""
        without = {axis: order for axis, order in orders.items() if axis is not leaf}
        for number, dimension in self._where[leaf]:
            a, b, axes = self._pairs[number]
            here = [orders if k != dimension else without for k in range(len(axes))]
            moved = permuted(b, axes, here)
            mine, theirs = (np.moveaxis(tensor, dimension, 0) for tensor in (a, moved))
            if axes[dimension].root is not leaf:
                places = axes[dimension].places(leaf)
                mine, theirs = mine[places], theirs[places]
            yield mine.reshape(leaf.size, -1), theirs.reshape(leaf.size, -1)


def permuted(tensor: Array, axes: Sequence[Axis], orders: Sequence[Mapping[Axis, Order]]) -> Array:
    """A tensor with its axes permuted, each by the permutations in its entry of ``orders``."""
    for dimension, (axis, known) in enumerate(zip(axes, orders, strict=True)):
        if not known.keys().isdisjoint(axis.leaves()):
            tensor = np.take(tensor, axis.order(known), axis=dimension)
    return tensor


def weight_matching(weights: Weights, *, restarts: int = 0, seed: int = 0) -> Matching:
    """The permutations of the largest ``⟨θ_a, P(θ_b)⟩``, which is the smallest ``‖θ_a − P(θ_b)‖``, that descents find.

    One permutation after the other is replaced by the best one for fixed others, a linear assignment problem, in a
    random order until nothing changes. The end depends on the start. There are two, and ``restarts`` random ones: one
    that finds the permutation between two copies of one network exactly, for which weights are compared, axis by axis,
    in sorted order as long as the permutations of their other axes are not known; and the paper's, the networks as
    they are. No start follows one after which the weights are equal.

    Reference:
        Ainsworth, Hayase and Srinivasa, "Git Re-Basin: merging models modulo permutation symmetries", 2023,
        arXiv:2209.04836, algorithm 1; the start by sorted weights is not in the paper.
    """
    draws = np.random.Generator(np.random.Philox(key=seed))
    best: Matching | None = None
    for start in range(2 + restarts):
        if best is not None and best.similarity >= (1 - _GAIN) * weights.scale:
            break  # Cauchy–Schwarz, tensor by tensor: they are equal up to a factor
        if start == 0:
            orders = _by_sorted_weights(weights)
        elif start == 1:
            orders = {leaf: np.arange(leaf.size) for leaf in weights.free}
        else:
            orders = {leaf: draws.permutation(leaf.size) for leaf in weights.free}
        sweeps = _descended(weights, orders, draws)
        similarity = weights.similarity(orders)
        if best is None or similarity > best.similarity + _GAIN * weights.scale:
            best = Matching(orders, similarity, start, sweeps)
    assert best is not None
    return best


def _by_sorted_weights(weights: Weights) -> Orders:
    orders: Orders = {}
    for leaf in weights.free:
        orders[leaf] = linear_sum_assignment(weights.gains_without(leaf, orders), maximize=True)[1]
    return orders


def _descended(weights: Weights, orders: Orders, draws: np.random.Generator) -> int:
    """Improves the permutations in place until none can be; returns the number of sweeps."""
    least = _GAIN * weights.scale
    sweeps, changed = 0, True
    while changed and sweeps < _MOST_SWEEPS:
        sweeps, changed = sweeps + 1, False
        for number in draws.permutation(len(weights.free)):
            leaf = weights.free[number]
            gains, rows = weights.gains(leaf, orders), np.arange(leaf.size)
            order = linear_sum_assignment(gains, maximize=True)[1]
            if gains[rows, order].sum() <= gains[rows, orders[leaf]].sum() + least:
                continue
            # Where a tensor has the axis twice, the problem is not linear, and the assignment may lose.
            if not weights.is_linear(leaf):
                moved = {**orders, leaf: order}
                if weights.similarity(moved) <= weights.similarity(orders) + least:
                    continue
            orders[leaf], changed = order, True
    return sweeps
