"""Tr G, exactly and layer by layer, from squared per-example gradients; or by sampled classes where there are many.

``G = (1/N) Σᵢ Jᵢᵀ (Σ_k s_k s_kᵀ) Jᵢ``, hence ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: one backward pass without weight
gradients for every k, and nothing random.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from landscape.curvature.example_gradients import (
    squared_norms_by_use,
    squared_norms_by_vmap,
    uses_cover,
)
from landscape.curvature.losses import curvature_by_autograd, curvature_root
from landscape.curvature.piecewise_affine import Verdict, analyse
from landscape.curvature.spot_checks import (
    blocks_agree,
    diagonals_agree,
    gradients_agree,
    picked,
    same_without_gradients,
)
from landscape.errors import is_out_of_memory
from landscape.objective import Objective
from landscape.objective.batches import Batch, rows_in, tensors_in
from landscape.objective.outputs import applied, labelled
from landscape.objective.risk import BatchLoss, Risk

MANY_CLASSES = 64
"""With more outputs than this, one sampled class an example and pass is cheaper than all of them."""

ROUNDED_EXAMPLES = 8
"""Examples of which it is seen what rounding does to them."""

LAST_PLACES = 64
"""Units in their last place by which weights are moved for it: enough for a few examples to show something."""


@dataclass(frozen=True)
class GaussNewtonPlan:
    """How Tr G can be had, and whether it is Tr H; and whether Tr H can be had with probes for every example.

    Attributes:
        affine: Whether the outputs are proved piecewise affine in each parameter, so that Tr H = Tr G.
        obstacle: Why Tr G cannot be had at all; empty if it can.
        by_use: Whether every free parameter is used once, by a known operation that is linear in it.
        outputs: C, the number of outputs.
        by_example: Whether the second derivatives of single examples can be had at the results of these operations.
    """

    affine: Verdict
    obstacle: str
    by_use: bool
    outputs: int
    by_example: bool = False


def plan(objective: Objective) -> GaussNewtonPlan:
    """Looks at the loss and at the forward pass for every shape of batch; costs about a forward pass a shape."""
    apart = objective.independence()
    if not apart.holds:
        return _refused(apart.reason)
    found: list[GaussNewtonPlan] = []
    shapes: set[object] = set()

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        shape = [tuple(tensor.shape) for tensor in tensors_in(batch)]
        if (
            not found
            or (str(shape) not in shapes and not found[-1].obstacle)
            or _too_many(risk, batch, found)
        ):
            shapes.add(str(shape))
            found.append(_planned(risk, batch))
        return []

    objective.average(visit)
    refused = next((one for one in found if one.obstacle), None)
    doubted = next((one for one in found if not one.affine.proved), None)
    return refused or doubted or found[0]


def _refused(reason: str) -> GaussNewtonPlan:
    return GaussNewtonPlan(Verdict(False, ""), reason, by_use=False, outputs=0)


def _too_many(risk: Risk, batch: Batch, found: list[GaussNewtonPlan]) -> bool:
    """Whether this batch's targets rule out the closed form that earlier batches had, and there is no other."""
    many = not found[-1].obstacle and found[-1].outputs > MANY_CLASSES
    return many and isinstance(curvature_root(risk.loss, labelled(batch)[1]), str)


def _planned(risk: Risk, batch: Batch) -> GaussNewtonPlan:
    """What can be done with batches like this one; whatever a look at it raises is why nothing can."""
    try:
        return _looked_at(risk, batch)
    except (
        Exception
    ) as failure:  # a network may raise anything where it is used in another way than as a whole
        if isinstance(failure, (RuntimeError, MemoryError)) and is_out_of_memory(failure):
            raise
        return _refused(f"the network cannot be looked at ({described(failure)})")


def described(failure: Exception) -> str:
    """The kind of a failure and the first of its words."""
    words = (str(failure).strip().splitlines() or [""])[0][:100]
    return f"{type(failure).__name__}: {words}"


def _looked_at(risk: Risk, batch: Batch) -> GaussNewtonPlan:
    if isinstance(risk.loss, BatchLoss):
        return _refused("a BatchLoss hides the outputs")
    inputs, targets = labelled(batch)
    if not isinstance(targets, Tensor):
        return _refused("the targets are not one tensor")
    model, free = risk.replica.model, risk.replica.layout.names
    outputs = applied(model, inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim < 2 or outputs.shape[0] != rows_in(inputs):
        return _refused("the outputs are not one row an example")
    if not outputs.requires_grad:
        return _refused("the outputs depend on no free parameter")
    if not same_without_gradients(model, inputs):
        return _refused("the outputs are others where no gradient is recorded")
    verdict = analyse(model, free, inputs)
    by_use = uses_cover(model, free, verdict.used_once, inputs) and gradients_agree(
        model, free, inputs, squared_norms_by_use
    )
    obstacle = _no_root(risk, outputs, targets)
    if not obstacle and not by_use and not gradients_agree(model, free, inputs, squared_norms_by_vmap):
        obstacle = "the gradients of single examples cannot be taken"
    if verdict.proved and not obstacle and not diagonals_agree(risk, batch):
        verdict = Verdict(False, "autograd finds curvature that the forward pass does not show")
    exact = verdict.proved and not obstacle
    return GaussNewtonPlan(
        verdict, obstacle, by_use, outputs.shape[1], by_use and not exact and blocks_agree(risk, batch)
    )


def _no_root(risk: Risk, outputs: Tensor, targets: Tensor) -> str:
    """Why there is no square root of the curvature of the loss in the outputs; empty if there is one."""
    if outputs.ndim != 2:
        return "the outputs are not one row an example"
    root = curvature_root(risk.loss, targets)
    if not isinstance(root, str):
        return ""
    if outputs.shape[1] > MANY_CLASSES:
        return root
    try:
        _Cotangents(risk, targets, None)(outputs.detach(), slice(0, len(outputs)))
    except RuntimeError as failure:
        if is_out_of_memory(failure):
            raise
        return f"{root} ({described(failure)})"
    return ""


def gauss_newton_traces(
    objective: Objective, chosen: GaussNewtonPlan, *, generator: torch.Generator | None = None
) -> Tensor:
    """Tr G of every free parameter tensor, ``(parameters,)`` in float64; their sum is Tr G.

    Args:
        objective: Where.
        chosen: What :func:`plan` found, without an obstacle.
        generator: Draws one class an example instead of going through all: an unbiased estimate.
    """

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        return [_summed(risk, batch, chosen, generator) / risk.weight]

    (means,) = objective.average(visit, gradients=chosen.outputs if generator is None else 1)
    return means


def _summed(risk: Risk, batch: Batch, chosen: GaussNewtonPlan, generator: torch.Generator | None) -> Tensor:
    """``Σᵢ wᵢ Tr Gᵢ`` over the examples of a batch, by parameter tensor."""
    inputs, targets = labelled(batch)
    norms = squared_norms_by_use if chosen.by_use else squared_norms_by_vmap
    model, free, cotangents = (
        risk.replica.model,
        risk.replica.layout.names,
        _Cotangents(risk, targets, generator),
    )
    total = norms(model, free, inputs, cotangents)
    if cotangents.indefinite:
        total = total - norms(model, free, inputs, partial(cotangents, sign=-1))
    return total


def rounding_of_trace(objective: Objective, chosen: GaussNewtonPlan) -> float | None:
    """About how large the rounding error of Tr G is, relative to it; ``None`` where there is nothing to compare with.

    Weights are moved by some units in their last place, and what that changes for a few examples stands for what
    rounding does. Where the network has kinks, examples change one by one as they pass one, in proportion to the
    move, and so the variance of the sum falls with the move, and the relative error with the root of the examples.

    Args:
        objective: Where.
        chosen: What :func:`plan` found, without an obstacle.
    """
    first, sums, shares = next(objective.per_batch()), list[float](), list[float]()

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        few = picked(batch, ROUNDED_EXAMPLES)
        shares.append(risk.batches.weight_of(few) / objective.total_weight)
        sums.append(float(_summed(risk, few, chosen, None).sum()))
        return []

    step = LAST_PLACES * torch.finfo(objective.point.dtype).eps
    generator = torch.Generator().manual_seed(0)
    first.average(visit)
    for _ in range(2):
        signs = 2 * torch.randint(0, 2, objective.point.shape, generator=generator, dtype=torch.int8) - 1
        first.at(objective.point * (1 + step * signs.to(objective.point))).average(visit)
    whole, *moved = sums
    if not whole > 0:
        return None
    change = math.sqrt(sum((other - whole) ** 2 for other in moved) / len(moved)) / whole
    return change * math.sqrt(shares[0] / LAST_PLACES)


class _Cotangents:
    """All s_k of some examples of a batch, or one that is drawn, ``(K, B, C)``; each example by its weight.

    Args:
        risk: Whose loss.
        targets: Those of the batch.
        generator: Draws one of them an example; ``None`` for all.

    Attributes:
        indefinite: Whether the loss has been seen to curve downwards too, so that a negative part is to be taken off.
    """

    def __init__(self, risk: Risk, targets: Tensor, generator: torch.Generator | None) -> None:
        self.indefinite = False
        self._risk, self._targets, self._generator = risk, targets, generator
        self._root = curvature_root(risk.loss, targets)

    def __call__(self, outputs: Tensor, rows: slice, sign: int = 1) -> Tensor:
        if not isinstance(self._root, str):
            if self._generator is None:
                return self._root.vectors(outputs)
            return self._root.sample(outputs, self._generator).unsqueeze(0)
        targets = self._targets[rows]
        weight = self._risk.batches.weight_of((outputs, targets))
        up, down = curvature_by_autograd(self._risk.loss, outputs, targets, weight=weight)
        self.indefinite = self.indefinite or bool(down.any())
        return up if sign > 0 else down
