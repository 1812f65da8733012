"""One row of the table of optimizers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from landscape.registry.names import NameTable, Row


@dataclass(frozen=True)
class OptimizerRow(Row[torch.optim.Optimizer]):
    """One optimizer: a base, built from parameters, or a sharpness-aware one, built from a base.

    Attributes:
        cost: Gradients a step, a number or a formula in the row's options.
        is_base: Whether it is a base.
    """

    cost: float | str = 1
    is_base: bool = False


class OptimizerTable(NameTable[torch.optim.Optimizer]):
    """The names of the optimizers."""

    def __getitem__(self, name: str) -> OptimizerRow:
        row = super().__getitem__(name)
        assert isinstance(row, OptimizerRow)
        return row

    def row(self, name: str) -> OptimizerRow:
        """The row of that name; raises :class:`UsageError` with the nearest name."""
        return self[super().row(name).name]


def base(
    name: str, build: Callable[..., torch.optim.Optimizer], summary: str, reference: str
) -> OptimizerRow:
    """A row for an optimizer that is built from parameters."""
    return OptimizerRow(name, build, summary, reference, hidden=frozenset({"lr"}), is_base=True)


def variant(
    name: str, build: Callable[..., torch.optim.Optimizer], summary: str, reference: str, *, cost: float | str
) -> OptimizerRow:
    """A row for an optimizer that is built around a base."""
    return OptimizerRow(name, build, summary, reference, hidden=frozenset({"base", "model"}), cost=cost)
