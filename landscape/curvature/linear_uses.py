"""Operations that are linear in a parameter: what an example's parameters do to the result, and back.

Seen from the result of such an operation a parameter tensor of a million entries is a small thing. Two questions are
answered without ever holding a gradient or a parameter tensor for each example: the squared norms of the examples'
gradients, from derivatives at the result; and how the result moves when every example has parameters of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

Signs = Callable[[Sequence[int]], Tensor]
"""Independent ±1 of a shape whose first size is the number of examples."""

CHUNK_ELEMENTS = 1 << 24
"""Entries of parameters with a copy for each example that are held at once."""


class Linear(Protocol):
    """The linear map from a parameter to the result ``(B, …)`` of an operation on B examples."""

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """``Σ_k Σᵢ ‖gradient of example i‖²`` from K derivatives at the result, each ``(B, …)``."""
        ...

    def moved(self, steps: Tensor) -> Tensor:
        """How the result moves when the parameter of example i moves by ``steps[i]``, ``(B, *parameter.shape)``."""
        ...

    def shaken(self, signs: Signs) -> Tensor:
        """The same for independent random signs, or for something else of the same mean and covariance."""
        ...


@dataclass(frozen=True)
class Use:
    """One operation's use of one parameter.

    Attributes:
        parameter: The parameter.
        place: The operation's result, ``(B, …)``, as it stands in autograd's graph.
        map: From the one to the other.
    """

    parameter: Tensor
    place: Tensor
    map: Linear


class Product:
    """``weight · view``: linear layers and convolutions.

    Args:
        shape: Of the weight, ``(groups · O, …)`` with I entries in a row.
        place: Shape of the result: ``(B, …, O)`` for linear layers, ``(B, groups · O, …)`` for convolutions.
        views: Makes what the weight is multiplied with, ``(B, groups, I, positions)``.
        last: Whether outputs are the last dimension of the result.
    """

    def __init__(
        self, shape: torch.Size, place: torch.Size, views: Callable[[], Tensor], *, last: bool
    ) -> None:
        self._shape, self._place, self._views, self._last = shape, place, views, last

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """See :class:`Linear`."""
        view = self._views()
        if view.shape[1] == view.shape[3] == 1:
            energy = sum(
                (_energies(slope.flatten(1)) for slope in slopes), torch.zeros((), device=view.device)
            )
            return torch.dot(energy, _energies(view.flatten(1)))
        rows = [self._rows(slope, view.shape[1]) for slope in slopes]
        return _outer_norm(torch.cat(rows, dim=2).flatten(0, 1), view.flatten(0, 1))

    def moved(self, steps: Tensor) -> Tensor:
        """See :class:`Linear`."""
        return self._result(self._pushed(steps, self._views()))

    def shaken(self, signs: Signs) -> Tensor:
        """See :class:`Linear`; of a vector only the length matters: signs times it have the same covariance."""
        view = self._views()
        count, groups, _, positions = view.shape
        if groups == positions == 1:
            lengths = torch.linalg.vector_norm(view.flatten(1), dim=1, keepdim=True)
            return self._result((signs((count, self._shape[0])) * lengths)[:, None, :, None])
        width = max(1, CHUNK_ELEMENTS // self._shape.numel())
        return self._result(
            torch.cat([self._pushed(signs((len(v), *self._shape)), v) for v in torch.split(view, width)])
        )

    def _pushed(self, steps: Tensor, view: Tensor) -> Tensor:
        """``(B, groups, O, positions)``."""
        count, groups, features, _ = view.shape
        pushed: Tensor = torch.matmul(steps.reshape(count, groups, -1, features), view)
        return pushed

    def _rows(self, slope: Tensor, groups: int) -> Tensor:
        """A derivative as ``(B, groups, O, positions)``."""
        if self._last:
            return slope.reshape(slope.shape[0], 1, -1, slope.shape[-1]).mT
        return slope.reshape(slope.shape[0], groups, self._shape[0] // groups, -1)

    def _result(self, rows: Tensor) -> Tensor:
        return (rows.mT if self._last else rows).reshape(self._place)


class Scaling:
    """``parameter * factor`` with broadcasting over the examples and whatever else: biases, norms, positions, tokens.

    Args:
        shape: The parameter's shape for one example, such that it broadcasts with the result's ``[1:]``.
        place: Shape of the result.
        factor: What it is multiplied with, ``(B, …)`` or such that it broadcasts; 1 if it is only added.
    """

    def __init__(self, shape: Sequence[int], place: torch.Size, factor: Tensor | None = None) -> None:
        missing = len(place) - 1 - len(shape)
        self._shape, self._place, self._factor = (*(1,) * missing, *shape), place, factor

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """See :class:`Linear`."""
        shared = [k + 1 for k, size in enumerate(self._shape) if size == 1]
        total = torch.zeros((), device=slopes[0].device)
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
        return self.moved(signs((self._place[0], *self._shape)))


class Lookup:
    """``weight[indices]``: an embedding.

    Args:
        shape: Of the weight, ``(rows, width)``.
        indices: ``(B, …)``.
        ignored: A row that gets no gradient.
    """

    def __init__(self, shape: torch.Size, indices: Tensor, ignored: int | None = None) -> None:
        self._shape, self._indices, self._ignored = shape, indices, ignored
        each = torch.arange(len(indices), device=indices.device).reshape(-1, *(1,) * (indices.ndim - 1))
        self._pairs, self._inverse = torch.unique(each * shape[0] + indices, return_inverse=True)

    def squared_norm(self, slopes: Sequence[Tensor]) -> Tensor:
        """See :class:`Linear`."""
        total = torch.zeros((), device=self._indices.device)
        for slope in slopes:
            rows = slope.new_zeros(len(self._pairs), self._shape[1])
            rows.index_add_(0, self._inverse.flatten(), slope.reshape(-1, self._shape[1]))
            total = total + _norm(rows * self._counted(slope))
        return total

    def moved(self, steps: Tensor) -> Tensor:
        """See :class:`Linear`."""
        return self._read(steps.reshape(-1, self._shape[1])[self._pairs])

    def shaken(self, signs: Signs) -> Tensor:
        """See :class:`Linear`; only rows that an example reads are drawn."""
        places = self._indices[0].numel()
        first = torch.full_like(self._pairs, self._inverse.numel())
        order = torch.arange(self._inverse.numel(), device=first.device)
        first.scatter_reduce_(0, self._inverse.flatten(), order, "amin")
        drawn = signs((len(self._indices), places, self._shape[1])).reshape(-1, self._shape[1])
        return self._read(drawn[first])

    def _read(self, rows: Tensor) -> Tensor:
        """The result for the rows of all pairs of example and row."""
        found: Tensor = (rows * self._counted(rows))[self._inverse]
        return found

    def _counted(self, like: Tensor) -> Tensor:
        """1 a pair of example and row, 0 where the row is ignored, ``(pairs, 1)``."""
        if self._ignored is None:
            return like.new_ones(len(self._pairs), 1)
        counted: Tensor = (self._pairs % self._shape[0] != self._ignored).to(like)
        return counted.unsqueeze(1)


def patches(x: Tensor, kernel: Sequence[int], *, groups: int, **how: Sequence[int]) -> Tensor:
    """What the weight of a convolution is multiplied with, ``(B, groups, features, positions)``.

    Args:
        x: ``(B, channels, width)`` or ``(B, channels, height, width)``.
        kernel: Its size.
        groups: Groups of channels.
        how: ``stride``, ``padding`` and ``dilation``.
    """
    if x.ndim == 3:
        x, kernel = x.unsqueeze(2), (1, *kernel)
        how = {name: ((0, *size) if name == "padding" else (1, *size)) for name, size in how.items()}
    view: Tensor = functional.unfold(x, tuple(kernel), **{name: tuple(size) for name, size in how.items()})
    return view.reshape(x.shape[0], groups, -1, view.shape[-1])


def _outer_norm(out: Tensor, view: Tensor) -> Tensor:
    """``Σᵢ ‖outᵢ viewᵢᵀ‖²`` for ``(B, O, L)`` and ``(B, I, L)``, whichever way is cheaper."""
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
    """The squared norm of every row of ``(B, n)``, in one pass."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()
