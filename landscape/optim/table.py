"""The optimizers by name. A new one is its file and its row here."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from landscape.optim.asam import ASAM
from landscape.optim.bases import adamw, sgd
from landscape.optim.cr_sam import CRSAM
from landscape.optim.gsam import GSAM
from landscape.optim.sam import SAM
from landscape.registry import NameTable, Row


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


def _base(
    name: str, build: Callable[..., torch.optim.Optimizer], summary: str, reference: str
) -> OptimizerRow:
    return OptimizerRow(name, build, summary, reference, hidden=frozenset({"lr"}), is_base=True)


def _variant(
    name: str, build: Callable[..., torch.optim.Optimizer], summary: str, reference: str, *, cost: float | str
) -> OptimizerRow:
    return OptimizerRow(name, build, summary, reference, hidden=frozenset({"base", "model"}), cost=cost)


OPTIMIZERS = OptimizerTable(
    "optimizer",
    [
        _base("sgd", sgd, "stochastic gradient descent with momentum", "Robbins and Monro 1951"),
        _base(
            "adamw", adamw, "Adam with decoupled weight decay", "Loshchilov and Hutter 2019, arXiv 1711.05101"
        ),
        _variant(
            "sam",
            SAM,
            "the gradient at the worst point nearby",
            "Foret et al. 2021, arXiv 2010.01412",
            cost=2,
        ),
        _variant(
            "asam",
            ASAM,
            "SAM in a ball scaled with the weights",
            "Kwon et al. 2021, arXiv 2102.11600",
            cost=2,
        ),
        _variant(
            "gsam",
            GSAM,
            "SAM that also closes the gap between the loss nearby and here",
            "Zhuang et al. 2022, arXiv 2203.08065",
            cost=2,
        ),
        _variant(
            "cr-sam",
            CRSAM,
            "SAM with a regulariser on the curvature along the gradient",
            "Wu, Luo and Wunsch 2024, arXiv 2312.13555",
            cost=3,
        ),
    ],
)
