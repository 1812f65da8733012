"""Whether derivatives of a network with integer weights are those of its loss, found out on the first batch.

Integers themselves are constants. What counts is the way past them: a layer that turns its integers into numbers and
multiplies is differentiable. Torch's own layers round their inputs too, and return nothing for a derivative, which
autograd takes for zero.
"""

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.isolation.switches import no_warnings
from landscape.objective.batch import Batch, copied, moved
from landscape.objective.risk import Risk
from landscape.parameters import integer_weights

Visited = Callable[[Callable[[Risk, Batch], list[Tensor]]], list[Tensor]]


def gradient_past_integers(risk: Risk, visited: Visited) -> Tensor:
    """The gradient ``(n,)`` of the first batch, NaN for the parameters for which autograd returns none."""

    def visit(here: Risk, source: Batch) -> list[Tensor]:
        parameters = here.replica.parameters
        with no_warnings, torch.inference_mode(False), torch.enable_grad():
            loss = risk.forward(copied(moved(source, here.replica.device, here.replica.dtype)))[0]
            slopes: Sequence[Tensor | None] = [None] * len(parameters)
            # There may be no graph, or a layer that says it has no derivative.
            with contextlib.suppress(RuntimeError, NotImplementedError):
                slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        pairs = zip(slopes, parameters, strict=True)
        return [
            here.replica.layout.flatten(
                [p.new_full(p.shape, torch.nan) if s is None else s for s, p in pairs]
            )
        ]

    return visited(visit)[0].detach()


def stopped(risk: Risk, what: str) -> str:
    """The reason why the loss has no derivative with respect to ``what``, which it changes with."""
    return f"{_where(risk)}, and autograd takes no derivative with respect to {what} through them; {_ADVICE}"


def nothing_free(risk: Risk) -> str:
    """Why there are no derivatives if no weight is in floating point."""
    return f"{_where(risk)}, and no weight is in floating point, so that there is nothing to differentiate; {_ADVICE}"


_ADVICE = (
    "loss, accuracy and surfaces work as it is; for products and gradients load the float weights, or free only what "
    "comes after the integers (parameters=[…], --parameters)"
)


def _where(risk: Risk) -> str:
    names = [f"'{name}' ({kind})" for name, kind in integer_weights(risk.replica.model).items()]
    few = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    return f"the weights of {type(risk.replica.model).__name__} are quantised in {few}"
