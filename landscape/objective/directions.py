"""Random directions among the weights, drawn again wherever they are needed instead of kept."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.reductions import norm, numbers

# Entries up to which a tensor has normal numbers. Those of larger ones are signs, which are drawn ten times as fast.
FEW = 1 << 12

Tensors = Sequence[Tensor]


class Directions:
    """Random directions in proportion to the sizes of the tensors of a point, as functions of their number.

    Args:
        point: Tensors; none is kept.

    Attributes:
        sizes: The typical size of the entries of every tensor: at least a hundredth of that of all.
    """

    def __init__(self, point: Tensors) -> None:
        self.sizes = _sizes(point)
        self._forms = [_form(p) for p in point]
        self._small = dict[int, dict[int, Tensor]]()

    def like(self, point: Tensors) -> "Directions":
        """The same directions in the precision of other tensors of the same shapes."""
        twin = copy.copy(self)
        twin._forms, twin._small = [_form(p) for p in point], {}
        return twin

    def tensor(self, number: int, k: int) -> Tensor:
        """Tensor ``k`` of the direction of that number."""
        place = self._forms[k]
        return self.entries(number, k, 0, place.numel()).reshape(place.shape)

    def entries(self, number: int, k: int, first: int, count: int) -> Tensor:
        """Some entries ``(count,)`` of that tensor, which may be changed."""
        place = self._forms[k]
        if place.numel() > FEW:
            drawn = Draws(0).fold(number).signs(range(k, k + 1), count, first=first, like=place)[0]
            return drawn.mul_(self.sizes[k])
        return self._few(number)[k][first : first + count] * self.sizes[k]

    def _few(self, number: int) -> dict[int, Tensor]:
        """All small tensors of a direction, by their numbers: they are many, and a draw costs the same for each."""
        if number not in self._small:
            forms = dict[tuple[int, torch.dtype], list[int]]()
            for k, place in enumerate(self._forms):
                if place.numel() <= FEW:
                    forms.setdefault((place.numel(), place.dtype), []).append(k)
            draws, drawn = Draws(0).fold(number), dict[int, Tensor]()
            for (columns, _), group in forms.items():
                like = self._forms[group[0]]
                rows = torch.tensor(group, device=like.device)
                drawn.update(zip(group, draws.normals(rows, columns, like=like), strict=True))
            self._small[number] = drawn
        return self._small[number]


def _form(tensor: Tensor) -> Tensor:
    """A tensor of that form, precision and device that takes no memory."""
    return tensor.detach().new_zeros(()).expand(tensor.shape)


def _sizes(point: Tensors) -> list[float]:
    lengths = numbers(*map(norm, point))
    overall = math.hypot(*lengths) / math.sqrt(max(1, sum(p.numel() for p in point))) or 1.0
    typical = (length / math.sqrt(max(1, p.numel())) for length, p in zip(lengths, point, strict=True))
    return [max(size, 0.01 * overall) for size in typical]
