"""Tr G, exactly and layer by layer, from squared per-example gradients, or from sampled classes if there are many.

``G = (1/N) Σᵢ Jᵢᵀ (Σ_k s_k s_kᵀ) Jᵢ``, hence ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: one backward pass without weight
gradients for every k, and nothing random.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.curvature.example_gradients import squared_norms_by_use, squared_norms_by_vmap, uses_cover
from landscape.curvature.losses import curvature_by_autograd, curvature_root
from landscape.curvature.piecewise_affine import Verdict, analyse, described
from landscape.curvature.spot_checks import (
    blocks_agree,
    diagonals_agree,
    gradients_agree,
    picked,
    same_without_gradients,
)
from landscape.draws import Draws
from landscape.errors import is_out_of_memory
from landscape.losses.loss_functions import BatchLoss, averages_examples, label_weights
from landscape.losses.next_token import NextToken
from landscape.losses.outputs import applied, labelled
from landscape.objective import Objective
from landscape.objective.batch import Batch, rows_in, tensors_in
from landscape.objective.risk import Risk
from landscape.reductions import numbers

# With more outputs than this, one sampled class an example and pass is cheaper than all of them.
MANY_CLASSES = 64
# Examples whose rounding error is estimated.
ROUNDED_EXAMPLES = 8
# Units in the last place by which weights are moved for that: enough for a few examples to show a change.
LAST_PLACES = 64


@dataclass(frozen=True)
class GaussNewtonPlan:
    """The applicable ways to Tr G and Tr H.

    Attributes:
        affine: Whether the outputs are proved piecewise affine in each parameter, so that Tr H = Tr G.
        obstacle: Why Tr G cannot be computed; empty if it can.
        by_use: Whether every free parameter is used once, by a known operation that is linear in it.
        outputs: The number of outputs of an example: C, or of a sequence the tokens times C.
        by_example: Whether single examples have second derivatives at the results of these operations.
        cost_apart: The cost of a pass that probes these operations one by one, in passes that probe them together.
    """

    affine: Verdict
    obstacle: str
    by_use: bool = False
    outputs: int = 0
    by_example: bool = False
    cost_apart: float = 1.0


def plan(objective: Objective) -> GaussNewtonPlan:
    """The ways for this loss and every shape of batch; costs about a forward pass a shape."""
    if objective.shards.gathering is not None:
        return _refused("the weights are sharded")
    apart = objective.independence()
    if not apart.holds:
        return _refused(apart.reason)
    plans: list[_ShapePlan] = []

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        shape = str([tuple(tensor.shape) for tensor in tensors_in(batch)])
        again = bool(plans) and _too_many(risk, batch, plans[-1].plan)
        if again or _is_new(shape, plans):
            plans.append(_ShapePlan(shape, _planned(risk, batch), again))
        return []

    objective.average(visit)
    known: list[_ShapePlan] = []
    for each in itertools.chain(*objective.group.gathered(plans)):
        # Every process begins anew with the shapes: what an earlier batch has settled is left out.
        if each.again or _is_new(each.shape, known):
            known.append(each)
    refused = next((each.plan for each in known if each.plan.obstacle), None)
    unproved = next((each.plan for each in known if not each.plan.affine.proved), None)
    return refused or unproved or known[0].plan


class _ShapePlan(NamedTuple):
    """The ways for batches of some shape; ``again`` if the targets of this batch called for another look."""

    shape: str
    plan: GaussNewtonPlan
    again: bool


def _is_new(shape: str, plans: Sequence[_ShapePlan]) -> bool:
    """Whether batches of a shape have to be examined after those of the plans."""
    return not plans or (not plans[-1].plan.obstacle and all(shape != each.shape for each in plans))


def _refused(reason: str) -> GaussNewtonPlan:
    return GaussNewtonPlan(Verdict(False, ""), reason)


def _too_many(risk: Risk, batch: Batch, last: GaussNewtonPlan) -> bool:
    """Whether this batch's targets rule out the closed form that earlier batches had, and there is no other."""
    many = not last.obstacle and last.outputs > MANY_CLASSES
    return many and isinstance(curvature_root(risk.loss, labelled(batch)[1]), str)


def _planned(risk: Risk, batch: Batch) -> GaussNewtonPlan:
    """The ways for batches like this one; none if examining the network raises anything."""
    try:
        return _examined(risk, batch)
    except Exception as failure:  # a network may raise anything when it is called on a few examples
        if is_out_of_memory(failure):
            raise
        return _refused(f"the network cannot be looked at ({described(failure)})")


def _examined(risk: Risk, batch: Batch) -> GaussNewtonPlan:
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
    by_example = by_use and not exact and blocks_agree(risk, batch)
    # A rough rule, from timings of four networks: with 4 tensors 1 pass, with 8 tensors 1.4, with attention 3.7 for 31
    # tensors and 8.8 for 53. Of a deep network every operation takes half of a pass, and has about two tensors.
    cost_apart = 1 + min((len(free) / 19) ** 2, len(free) / 4)
    return GaussNewtonPlan(verdict, obstacle, by_use, outputs[0].numel(), by_example, cost_apart)


def _no_root(risk: Risk, outputs: Tensor, targets: Tensor) -> str:
    """Why there is no square root of the curvature of the loss in the outputs; empty if there is one."""
    root = curvature_root(risk.loss, targets)
    by_token = isinstance(risk.loss, NextToken) and outputs.ndim == 3 and targets.shape == outputs.shape[:2]
    if outputs.ndim != 2 and not by_token:
        return "the outputs are not one row an example"
    if not isinstance(root, str):
        return ""
    if by_token or outputs.shape[1] > MANY_CLASSES:
        return root
    try:
        _Cotangents(risk, targets, None)(outputs.detach(), slice(0, len(outputs)))
    except RuntimeError as failure:
        if is_out_of_memory(failure):
            raise
        return f"{root} ({described(failure)})"
    return ""


def gauss_newton_traces(objective: Objective, plan: GaussNewtonPlan, *, draws: Draws | None = None) -> Tensor:
    """Tr G of every free parameter tensor, ``(parameters,)`` in float64; their sum is Tr G.

    With draws, an unbiased estimate of it from one class drawn for the number of every example.
    """

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        return [_summed(risk, batch, plan, draws) / risk.weight]

    (means,) = objective.average(visit, gradients=plan.outputs if draws is None else 1)
    return means


def _summed(risk: Risk, batch: Batch, plan: GaussNewtonPlan, draws: Draws | None) -> Tensor:
    """``Σᵢ wᵢ Tr Gᵢ`` over the examples of a batch, by parameter tensor."""
    inputs, targets = labelled(batch)
    norms = squared_norms_by_use if plan.by_use else squared_norms_by_vmap
    model, free = risk.replica.model, risk.replica.layout.names
    cotangents = _Cotangents(risk, targets, draws)
    total = norms(model, free, inputs, cotangents)
    if cotangents.indefinite:
        total = total - norms(model, free, inputs, partial(cotangents, sign=-1))
    return total


def rounding_of_trace(objective: Objective, plan: GaussNewtonPlan) -> float | None:
    """The relative rounding error of Tr G, roughly; ``None`` if the trace of a few examples is 0.

    Weights are moved by some units in their last place, and the change for a few examples stands for the effect of
    rounding. If the network has kinks, examples change one by one as they pass one, in proportion to the move. So the
    variance of the sum falls with the move, and the relative error with the root of the number of examples.
    """
    step = LAST_PLACES * torch.finfo(objective.point.dtype).eps

    def changes(first: Objective) -> float | None:
        sums, shares = list[Tensor](), list[float]()

        def visit(risk: Risk, batch: Batch) -> list[Tensor]:
            few = picked(batch, ROUNDED_EXAMPLES)
            if not shares:
                shares.append(risk.batches.weight_of(few) / objective.total_weight)
            sums.append(_summed(risk, few, plan, None).sum())
            return []

        first.average(visit)
        for signs in Draws(0).signs(2, objective.dimension, like=objective.point):
            first.at(objective.point * (1 + step * signs)).average(visit)
        value, *moved = numbers(*sums)
        if not value > 0:
            return None
        change = math.sqrt(sum((other - value) ** 2 for other in moved) / len(moved)) / value
        return change * math.sqrt(shares[0] / LAST_PLACES)

    return objective.by_batch(changes, only={0})[0]


class _Cotangents:
    """All s_k of some examples of a batch, or one that is drawn, ``(K, B, C)``, each scaled by the example's weight.

    Attributes:
        indefinite: Whether the loss has had negative curvature too, so that a negative part is to be subtracted.
    """

    def __init__(self, risk: Risk, targets: Tensor, draws: Draws | None) -> None:
        self._risk, self._targets, self._draws = risk, targets, draws
        self._is_negative: list[Tensor] = []

    @property
    def indefinite(self) -> bool:  # read once, after the last call
        return bool(self._is_negative) and bool(torch.stack(self._is_negative).any())

    def __call__(self, outputs: Tensor, rows: slice, sign: int = 1) -> Tensor:
        targets = self._targets[rows]
        root = curvature_root(self._risk.loss, targets)
        if not isinstance(root, str):
            if self._draws is None:
                return root.vectors(outputs)
            start = self._risk.place[0] + rows.start
            return root.sample(outputs, self._draws, range(start, start + len(outputs))).unsqueeze(0)
        rule = label_weights(self._risk.loss) if averages_examples(self._risk.loss) else None
        weight = (
            self._risk.batches.weight_of((outputs, targets))
            if rule is None
            else rule.each(targets).sum()  # not read
        )
        up, down = curvature_by_autograd(self._risk.loss, outputs, targets, weight=weight)
        self._is_negative.append(down.any())
        return up if sign > 0 else down
