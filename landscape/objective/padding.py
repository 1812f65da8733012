"""The padding row of an embedding, which no derivative moves.

The backward pass of an embedding with ``padding_idx`` leaves that row out, so that by double backward the Hessian has
zeros there. A forward derivative knows nothing of it and moves the row: the same product would be another number.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class HeldPadding(TorchFunctionMode):
    """Lookups of a padding row yield a constant while this is entered: the row as it is, or as it was the first time.

    What is computed again and again at other weights enters by :meth:`again`; its lookups must come in the same order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Tensor] = []
        self._next: int | None = None

    @contextmanager
    def again(self) -> Iterator[None]:
        """Uses the rows of the first time."""
        self._next = 0
        with self:
            yield

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation; of a lookup with padding the padded places are replaced."""
        given = dict(kwargs or {})
        out = function(*args, **given)
        if function is not functional.embedding:
            return out
        indices, weight, padding = _lookup(*args, **given)
        if padding is None:
            return out
        row = padding % weight.shape[0]
        return torch.where((indices == row).unsqueeze(-1), self._constant(weight[row].detach()), out)

    def _constant(self, row: Tensor) -> Tensor:
        if self._next is None:
            return row
        if self._next == len(self._rows):
            self._rows.append(row.clone())
        self._next += 1
        return self._rows[self._next - 1]


def _lookup(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, *rest: object, **more: object
) -> tuple[Tensor, Tensor, int | None]:
    return input, weight, padding_idx
