"""Which weights a loss depends on: those of the private copy, and in a way that autograd records.

What a loss reads past the copy stands still while the copy moves, and what is detached has a derivative that autograd
takes for zero. Either way a number would come out, and be said to be exact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective.autograd_graph import leaves

if TYPE_CHECKING:
    from landscape.objective.risk import Risk

STEP = 1e-2
"""How far weights without a derivative are moved, relative to each, to see whether the loss changes."""

CHANGE = 1e-5
"""Relative change of a loss that is more than rounding."""


@dataclass
class Reach:
    """The leaves of the graph behind the loss of the first batch, micro-batch after micro-batch.

    Attributes:
        leaves: By identity.
    """

    leaves: dict[int, Tensor] = field(default_factory=dict)

    def add(self, loss: Tensor) -> None:
        """Looks at what one loss depends on."""
        self.leaves.update({id(leaf): leaf for leaf in leaves([loss])})


def judge(risk: "Risk", reach: Reach, point: Tensor, *, constant: bool, loss: Callable[[], float]) -> None:
    """Refuses or notes what the loss depends on, or leaves word with the risk that there are no derivatives.

    Args:
        risk: Network and loss; its network stands at the point, and does so again afterwards.
        reach: What a loss on the first batch depends on.
        point: The point ``(n,)``.
        constant: Whether it is never written to by its owner.
        loss: Evaluates the loss of the first batch where the network stands.

    Raises:
        InputError: The loss reaches the weights of the user's own network.
    """
    replica = risk.replica
    past = [name for name, weight in replica.originals() if id(weight) in reach.leaves]
    if past:
        raise InputError(
            f"the loss reaches the weights of the model that was given, not of the copy of it that is moved "
            f"({_listed(past)}), through a closure, a global or an attribute of its own: derivatives with respect to "
            "them would be missing; use the model that is passed to the loss (BatchLoss(lambda model, batch: …)), and "
            "self inside the model"
        )
    own = {id(parameter) for parameter in replica.parameters}
    others = [
        leaf for leaf in reach.leaves.values() if isinstance(leaf, nn.Parameter) and id(leaf) not in own
    ]
    free = list(zip(replica.layout.names, replica.parameters, strict=True))
    unreached = [name for name, parameter in free if id(parameter) not in reach.leaves]
    if unreached and _changes(risk, unreached, point, constant, loss):
        risk.underived = _underived(unreached, whole=len(unreached) == len(free))
    elif len(unreached) == len(free):
        if others:
            raise InputError(
                f"the loss depends on no free parameter of the model, but on {len(others)} other tensors that require "
                f"a gradient (the first of shape {tuple(others[0].shape)}); use the model that is passed to the loss"
            )
        risk.notes.append("the loss depends on no free parameter: all derivatives are zero")
    if others:
        risk.notes.append(
            f"the loss has {len(others)} tensors of its own that require a gradient: they are held fixed"
        )


def _changes(
    risk: "Risk", names: Sequence[str], point: Tensor, constant: bool, loss: Callable[[], float]
) -> bool:
    """Whether the loss changes with the parameters of those names."""
    replica = risk.replica
    generator = torch.Generator().manual_seed(0)
    moved = point.clone()
    here = loss()
    for name, view in replica.layout.named(moved).items():
        if name in names:
            noise = torch.randn(view.shape, generator=generator, dtype=torch.float64).to(view)
            scale = view.abs() + view.square().mean().sqrt() + (0.0 if bool(view.any()) else 1.0)
            view.add_(STEP * scale * noise)
    try:
        replica.move(moved, constant=False)
        there = loss()
    finally:
        replica.move(point, constant=constant)
    return there != here and not abs(there - here) <= CHANGE * abs(here)


def _underived(names: Sequence[str], *, whole: bool) -> str:
    what = f"all {len(names)} free parameter tensors" if whole else f"{_listed(names)}"
    way_out = "" if whole else ", or leave them out with parameters=[…] or requires_grad_(False)"
    return (
        f"the loss changes with {what}, but autograd records no derivative: something between them and the loss is "
        f"detached (.detach(), torch.no_grad(), .item(), numpy) or has none (argmax); take that out of the "
        f"forward pass{way_out}"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3]) if len(names) <= 3 else f"'{names[0]}'"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 1} more"
