"""The dimensions of tensors, and which of them have to be permuted alike.

An axis may be permuted freely, or is held because something reads its entries by their places. Axes of several tensors
that an operation pairs entry by entry are tied: they become one. An axis that is reshaped is a product of axes, such as
channels × height × width after flattening; one that is concatenated is a sum of axes. Their permutations are those of
their parts, a subgroup of all permutations of the axis.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.intp]
"""A permutation: entry i is the place that entry i comes from."""


class Axis:
    """One dimension, compared by identity; a node of a union-find structure."""

    def __init__(self, size: int, *, held: str | None = None) -> None:
        self.size = size
        self._same: Axis | None = None
        self._parts: tuple[Axis, ...] = ()
        self._kind: Literal["product", "sum"] = "product"
        self._held = held

    @property
    def root(self) -> "Axis":
        """The axis that stands for all that are tied to this one."""
        axis = self
        while axis._same is not None:
            axis = axis._same
        return axis

    @property
    def held(self) -> str | None:
        """Why an axis without parts stays as it is, empty if that is in its nature; ``None`` if it is free."""
        return self.root._held

    def hold(self, reason: str = "") -> None:
        """Allows no permutation of the axis; an earlier reason is kept."""
        axis = self.root
        for part in axis._parts:
            part.hold(reason)
        if axis._held is None:
            axis._held = reason

    def leaves(self) -> Iterator["Axis"]:
        """The axes without parts that this one is made of."""
        axis = self.root
        if not axis._parts:
            yield axis
        for part in axis._parts:
            yield from part.leaves()

    def factors(self) -> list["Axis"]:
        """The axes whose product, the first one slowest, this axis is; without those of size 1."""
        axis = self.root
        if axis._parts and axis._kind == "product":
            return [factor for part in axis._parts for factor in part.factors()]
        return [axis] if axis.size > 1 else []

    def split(self, sizes: Sequence[int], kind: Literal["product", "sum"]) -> list["Axis"]:
        """The axis, which has no parts yet, as a product or a sum of axes of these sizes."""
        axis = self.root
        assert not axis._parts
        axis._parts, axis._kind = tuple(Axis(size, held=axis._held) for size in sizes), kind
        return list(axis._parts)

    def summands(self) -> list["Axis"]:
        """The axes whose sum, in order, this axis is."""
        axis = self.root
        if axis._parts and axis._kind == "sum":
            return [term for part in axis._parts for term in part.summands()]
        return [axis]

    def cut(self, sizes: Sequence[int], reason: str) -> list["Axis"]:
        """The axis as a sum of axes of these sizes; held first where its parts do not fit them."""
        terms, pieces = self.summands(), []
        for size in sizes:
            piece, left = list[Axis](), size
            while left > 0:
                term = terms.pop(0)
                if term.size > left:
                    if term.root._parts:
                        self.hold(reason)
                        return [Axis(size, held=reason) for size in sizes]
                    term, rest = term.split([left, term.size - left], "sum")
                    terms.insert(0, rest)
                piece.append(term)
                left -= term.size
            pieces.append(joined(piece, "sum"))
        return pieces

    def order(self, orders: Mapping["Axis", Order]) -> Order:
        """The permutation of the whole axis for permutations of its free leaves; others keep their order."""
        axis = self.root
        if not axis._parts:
            order = orders.get(axis)
            return np.arange(axis.size) if order is None else order
        whole, offset = np.zeros(1, np.intp), 0
        if axis._kind == "sum":
            each = []
            for part in axis._parts:
                each.append(offset + part.order(orders))
                offset += part.size
            return np.concatenate(each)
        for part in axis._parts:
            whole = (whole[:, None] * part.size + part.order(orders)).reshape(-1)
        return whole

    def places(self, leaf: "Axis") -> Order:
        """``(leaf.size, R)``: the R places at which this axis has each entry of one of its leaves."""
        axis = self.root
        if axis is leaf:
            return np.arange(axis.size)[:, None]
        nowhere = np.zeros((leaf.size, 0), np.intp)
        if not axis._parts:
            return nowhere
        if axis._kind == "sum":
            offsets = np.cumsum([0, *(part.size for part in axis._parts)])
            return np.hstack([o + part.places(leaf) for o, part in zip(offsets, axis._parts, strict=False)])
        after = axis.size
        before = 1
        for part in axis._parts:
            after //= part.size
            inside = part.places(leaf)
            if inside.size:
                outer = np.arange(before)[:, None, None] * part.size
                spread = (outer + inside[:, None, :, None]) * after + np.arange(after)
                return spread.reshape(leaf.size, -1)
            before *= part.size
        return nowhere


def joined(parts: Sequence[Axis], kind: Literal["product", "sum"]) -> Axis:
    """The product or the sum of axes; one that is alone is itself."""
    parts = [part for part in parts if part.size != (1 if kind == "product" else 0)]
    if len(parts) == 1:
        return parts[0]
    sizes = [part.size for part in parts]
    axis = Axis(math.prod(sizes) if kind == "product" else sum(sizes))
    axis._parts, axis._kind = tuple(parts), kind
    return axis


def tie(first: Axis, second: Axis, reason: str) -> None:
    """Makes two axes of one size the same; if their parts do not fit each other, both are held for the ``reason``."""
    a, b = first.root, second.root
    assert a.size == b.size
    if a is b or a.size == 1:
        return
    if b._parts and not a._parts:
        a, b = b, a
    if not b._parts:  # takes the structure of the other
        if b._held is not None:
            a.hold(b._held)
        b._same = a
    elif not (_fit_sums(a, b, reason) if a._kind == b._kind == "sum" else _fit_products(a, b, reason)):
        a.hold(reason)
        b.hold(reason)


def _fit_sums(a: Axis, b: Axis, reason: str) -> bool:
    for left, right in _pieces(a.summands(), b.summands(), "sum"):
        if left.size != right.size:
            return False
        tie(left, right, reason)
    return True


def _fit_products(a: Axis, b: Axis, reason: str) -> bool:
    if a._kind != b._kind:
        return False
    for left, right in _pieces(a.factors(), b.factors(), "product"):
        if left.size != right.size:
            return False
        tie(left, right, reason)
    return True


def _pieces(
    first: list[Axis], second: list[Axis], kind: Literal["product", "sum"]
) -> Iterator[tuple[Axis, Axis]]:
    """Pairs of parts of one size, larger ones split; the sizes of the last pair differ if that is impossible."""
    while first and second:
        a, b = first.pop(0), second.pop(0)
        if a.size != b.size:
            large, small, rest = (a, b, first) if a.size > b.size else (b, a, second)
            whole = kind == "sum" or large.size % small.size == 0
            if whole and not large.root._parts:
                left = large.size - small.size if kind == "sum" else large.size // small.size
                head, tail = large.split([small.size, left], kind)
                rest.insert(0, tail)
                a, b = head, small
        yield a, b


def regrouped(axes: Sequence[Axis], shape: Sequence[int], reason: str) -> list[Axis]:
    """The axes of a tensor that is reshaped; all are held if a new axis divides an old one that cannot be divided."""
    factors = [factor for axis in axes for factor in axis.factors()]
    result = []
    for size in shape:
        parts, left = list[Axis](), size
        while left > 1:
            factor = factors.pop(0)
            if left % factor.size:
                if factor.size % left or factor.root._parts:
                    for axis in axes:
                        axis.hold(reason)
                    return [Axis(size, held=reason) for size in shape]
                factor, rest = factor.split([left, factor.size // left], "product")
                factors.insert(0, rest)
            parts.append(factor)
            left //= factor.size
        result.append(joined(parts, "product"))
    return result
