"""Operations linear in a parameter: per-example products in both directions.

A parameter tensor may have a million entries where the result of its operation has few. Two questions are answered
without a gradient or a parameter tensor for each example: the squared norms of the examples' gradients, from
derivatives at the result; and how the result moves when every example has parameters of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

Signs = Callable[[range, int], Tensor]
"""Independent ±1, ``(rows, columns)``, for rows of the batch; there are ``width`` columns."""

# Entries of parameters with a copy for each example that are in memory at once.
CHUNK_ELEMENTS = 1 << 24


class Linear(Protocol):
    """The linear map from a parameter to the result ``(B, …)`` of an operation on B examples."""

    @property
    def width(self) -> int:
        """The number of random signs that an example needs."""
        ...

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """``Σ_k Σᵢ ‖gradient of example i‖²`` from K derivatives at the result, each ``(B, …)``."""
        ...

    def moved(self, steps: Tensor) -> Tensor:
        """The movement of the result when the parameter of example i moves by ``steps[i]``."""
        ...

    def shaken(self, signs: Signs) -> Tensor:
        """The same for independent random signs, or for noise of the same mean and covariance."""
        ...


@dataclass(frozen=True)
class Use:
    """One operation's use of a parameter, with its result ``(B, …)`` in autograd's graph and the map between them."""

    parameter: Tensor
    place: Tensor
    map: Linear


@dataclass(frozen=True)
class Product:
    """``weight · view``: linear layers and convolutions.

    Attributes:
        shape: Of the weight, ``(groups · O, …)`` with I entries in a row.
        place: Shape of the result: ``(B, …, O)`` for linear layers, ``(B, groups · O, …)`` for convolutions.
        views: Computes the other factor, ``(B, groups, I, positions)``: for a convolution larger than its input.
        last: Whether outputs are the last dimension of the result.
        groups: Of a convolution.
    """

    shape: torch.Size
    place: torch.Size
    views: Callable[[], Tensor]
    last: bool
    groups: int = 1

    @property
    def width(self) -> int:
        """See :class:`Linear`."""
        return self.shape[0] if self._is_outer else self.shape.numel()

    @property
    def _is_outer(self) -> bool:
        """Whether the gradient of an example is an outer product of two vectors."""
        positions = self.place[1:-1] if self.last else self.place[2:]
        return self.groups == math.prod(positions) == 1

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """See :class:`Linear`."""
        view = self.views()
        if self._is_outer:  # the norm is a product of norms
            energies = [_energies(slope.flatten(1)) for slope in slopes]
            return torch.dot(sum(energies, view.new_zeros(())), _energies(view.flatten(1)))
        rows = [self._rows(slope, view.shape[1]) for slope in slopes]
        return _outer_norm(torch.cat(rows, dim=2).flatten(0, 1), view.flatten(0, 1))

    def moved(self, steps: Tensor) -> Tensor:
        """See :class:`Linear`."""
        return self._result(_pushed(steps, self.views()))

    def shaken(self, signs: Signs) -> Tensor:
        """See :class:`Linear`."""
        view, rows = self.views(), range(self.place[0])
        if self._is_outer:  # random signs times the length of a vector have the same covariance
            lengths = torch.linalg.vector_norm(view.flatten(1), dim=1, keepdim=True)
            return self._result((signs(rows, self.width) * lengths)[:, None, :, None])
        few = max(1, CHUNK_ELEMENTS // self.width)
        parts = [rows[start : start + few] for start in range(0, len(rows), few)]
        chunks = [_pushed(signs(part, self.width), view[part.start : part.stop]) for part in parts]
        return self._result(torch.cat(chunks))

    def _rows(self, slope: Tensor, groups: int) -> Tensor:
        """A derivative as ``(B, groups, O, positions)``."""
        if self.last:
            return slope.reshape(slope.shape[0], 1, -1, slope.shape[-1]).mT
        return slope.reshape(slope.shape[0], groups, self.shape[0] // groups, -1)

    def _result(self, rows: Tensor) -> Tensor:
        return (rows.mT if self.last else rows).reshape(self.place)


class Scaling:
    """``parameter * factor`` with broadcasting over examples and positions: biases, norms, positions, tokens.

    Args:
        shape: The parameter's shape for one example, such that it broadcasts with the result's ``[1:]``.
        place: Shape of the result.
        factor: The other factor, ``(B, …)`` or such that it broadcasts; ``None`` if the parameter is only added.
    """

    def __init__(self, shape: Sequence[int], place: torch.Size, factor: Tensor | None = None) -> None:
        missing = len(place) - 1 - len(shape)
        self._shape, self._place, self._factor = (*(1,) * missing, *shape), place, factor
        self.width = math.prod(shape)

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """See :class:`Linear`."""
        shared = [k + 1 for k, size in enumerate(self._shape) if size == 1]
        total = slopes[0].new_zeros(())
        for slope in slopes:
            gradients = slope if self._factor is None else slope * self._factor
            total = total + _norm(gradients.sum(shared) if shared else gradients)
        return total

    def moved(self, steps: Tensor) -> Tensor:
        """See :class:`Linear`."""
        steps = steps.reshape(len(steps), *self._shape)
        return (steps if self._factor is None else steps * self._factor).expand(self._place)

    def shaken(self, signs: Signs) -> Tensor:
        """See :class:`Linear`."""
        return self.moved(signs(range(self._place[0]), self.width))


class Lookup:
    """``weight[indices]``: an embedding, of which each example touches only the rows that it reads.

    Args:
        shape: Of the weight, ``(rows, width)``.
        indices: ``(B, …)``.
        ignored: A row that gets no gradient.
    """

    def __init__(self, shape: torch.Size, indices: Tensor, ignored: int | None = None) -> None:
        self._shape, self._indices, self._ignored = shape, indices, ignored
        each = torch.arange(len(indices), device=indices.device).reshape(-1, *(1,) * (indices.ndim - 1))
        # Pairs of example and row, by sorting: torch.unique would wait for the device to learn their number. Here there
        # are as many as positions, and those beyond the last pair are not used.
        flat = (each * shape[0] + indices).flatten()
        ordered, order = torch.sort(flat)
        rank = torch.cat([flat.new_zeros(1), (ordered[1:] != ordered[:-1]).cumsum(0)])[: len(flat)]
        self._pairs = torch.zeros_like(flat).scatter_(0, rank, ordered)
        self._inverse = torch.empty_like(flat).scatter_(0, order, rank).reshape(indices.shape)
        self.width = indices[0].numel() * shape[1]

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """See :class:`Linear`."""
        total = slopes[0].new_zeros(())
        for slope in slopes:
            rows = slope.new_zeros(len(self._pairs), self._shape[1])
            rows.index_add_(0, self._inverse.flatten(), slope.reshape(-1, self._shape[1]))
            total = total + _norm(rows * self._counted(slope))
        return total

    def moved(self, steps: Tensor) -> Tensor:
        """See :class:`Linear`."""
        return self._read(steps.reshape(-1, self._shape[1])[self._pairs])

    def shaken(self, signs: Signs) -> Tensor:
        """See :class:`Linear`."""
        # One draw for every position of an example, of which each row takes that of its first position: there are
        # fewer positions than rows of the table.
        first = torch.full_like(self._pairs, self._inverse.numel() - 1)
        order = torch.arange(self._inverse.numel(), device=first.device)
        first.scatter_reduce_(0, self._inverse.flatten(), order, "amin")
        drawn = signs(range(len(self._indices)), self.width)
        return self._read(drawn.reshape(-1, self._shape[1])[first])

    def _read(self, rows: Tensor) -> Tensor:
        """The result for the rows of all pairs of example and row."""
        result: Tensor = (rows * self._counted(rows))[self._inverse]
        return result

    def _counted(self, like: Tensor) -> Tensor:
        """1 for every pair of example and row, 0 where the row is ignored, ``(pairs, 1)``."""
        if self._ignored is None:
            return like.new_ones(len(self._pairs), 1)
        counted: Tensor = (self._pairs % self._shape[0] != self._ignored).to(like)
        return counted.unsqueeze(1)


def patches(x: Tensor, kernel: Sequence[int], *, groups: int, **how: Sequence[int]) -> Tensor:
    """The other factor of a convolution's weight, ``(B, groups, features, positions)``; ``how`` is stride and so on."""
    if x.ndim == 3:  # unfold knows only images: a sequence is one of height 1
        x, kernel = x.unsqueeze(2), (1, *kernel)
        how = {name: ((0, *size) if name == "padding" else (1, *size)) for name, size in how.items()}
    view: Tensor = functional.unfold(x, tuple(kernel), **{name: tuple(size) for name, size in how.items()})
    return view.reshape(x.shape[0], groups, -1, view.shape[-1])


def _pushed(steps: Tensor, view: Tensor) -> Tensor:
    """Each example's own weight times its view, ``(B, groups, O, positions)``."""
    count, groups, features, _ = view.shape
    result: Tensor = torch.matmul(steps.reshape(count, groups, -1, features), view)
    return result


def _outer_norm(out: Tensor, view: Tensor) -> Tensor:
    """``Σᵢ ‖outᵢ viewᵢᵀ‖²`` for ``(B, O, L)`` and ``(B, I, L)``, by Gram matrices if these are cheaper."""
    _, rows, positions = out.shape
    columns = view.shape[1]
    if positions * positions * (rows + columns) < rows * columns * positions:
        return torch.dot((out.mT @ out).flatten(), (view.mT @ view).flatten())
    return _norm(out @ view.mT)


def _norm(values: Tensor) -> Tensor:
    """‖values‖²."""
    norm: Tensor = torch.linalg.vector_norm(values)
    return norm.square()


def _energies(rows: Tensor) -> Tensor:
    """The squared norm of every row of ``(B, n)``."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)  # one pass, where rows.square().sum(1) takes two
    return norms.square()
