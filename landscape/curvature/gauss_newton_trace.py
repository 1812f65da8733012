"""Tr G, exactly and layer by layer, from squared per-example gradients; or by sampled classes where there are many.

``G = (1/N) Σᵢ Jᵢᵀ (Σ_k s_k s_kᵀ) Jᵢ``, hence ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: one backward pass without weight
gradients for every k, and nothing random.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from landscape.batches import Batch
from landscape.curvature.example_gradients import (
    squared_norms_by_use,
    squared_norms_by_vmap,
    uses_cover,
)
from landscape.curvature.losses import CurvatureRoot, averages_examples, curvature_root
from landscape.curvature.piecewise_affine import Verdict, analyse
from landscape.curvature.spot_checks import blocks_agree, diagonals_agree, gradients_agree
from landscape.objective import Objective
from landscape.outputs import labelled
from landscape.risk import BatchLoss, Risk

MANY_CLASSES = 64
"""With more outputs than this, one sampled class an example and pass is cheaper than all of them."""


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
    found: list[GaussNewtonPlan] = []
    shapes: set[object] = set()

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        shape = _shape(batch)
        if (
            not found
            or (shape not in shapes and not found[-1].obstacle)
            or _targets_differ(risk, batch, found)
        ):
            shapes.add(shape)
            found.append(_planned(risk, batch))
        return []

    objective.average(visit)
    refused = next((one for one in found if one.obstacle), None)
    doubted = next((one for one in found if not one.affine.proved), None)
    return refused or doubted or found[0]


def _targets_differ(risk: Risk, batch: Batch, found: list[GaussNewtonPlan]) -> bool:
    """Whether this batch's targets alone rule out the closed form that earlier batches had."""
    return not found[-1].obstacle and isinstance(curvature_root(risk.loss, batch[1]), str)


def _shape(batch: Batch) -> object:
    pair = isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[0], Tensor)
    return tuple(batch[0].shape) if pair else None


def _planned(risk: Risk, batch: Batch) -> GaussNewtonPlan:
    refused = partial(GaussNewtonPlan, Verdict(False, ""), by_use=False, outputs=0)
    if isinstance(risk.loss, BatchLoss):
        return refused("a BatchLoss hides the outputs")
    inputs, targets = labelled(batch)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        return refused("inputs or targets are not one tensor")
    root = curvature_root(risk.loss, targets)
    if not averages_examples(risk.loss):
        derived = f"{type(risk.loss).__name__} may do more than the loss that it derives from"
        return refused(root if isinstance(root, str) else derived)
    model, free = risk.replica.model, risk.replica.layout.names
    outputs = model(inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim < 2 or outputs.shape[0] != inputs.shape[0]:
        return refused("the outputs are not one row an example")
    if not outputs.requires_grad:
        return refused("the outputs depend on no free parameter")
    if _examples_mix(model, inputs, outputs):
        return refused("the outputs of an example depend on the other examples")
    verdict = analyse(model, free, inputs)
    by_use = uses_cover(model, free, verdict.used_once, inputs) and gradients_agree(
        model, free, inputs, squared_norms_by_use
    )
    obstacle = root if isinstance(root, str) else ""
    if outputs.ndim != 2:
        obstacle = "the outputs are not one row an example"
    if not obstacle and not by_use and not gradients_agree(model, free, inputs, squared_norms_by_vmap):
        obstacle = "the gradients of single examples cannot be taken"
    if verdict.proved and not obstacle and not diagonals_agree(risk, batch):
        verdict = Verdict(False, "autograd finds curvature that the forward pass does not show")
    exact = verdict.proved and not obstacle
    return GaussNewtonPlan(
        verdict, obstacle, by_use, outputs.shape[1], by_use and not exact and blocks_agree(risk, batch)
    )


def _examples_mix(model: nn.Module, inputs: Tensor, outputs: Tensor) -> bool:
    """Whether half of the batch alone gives other outputs than within the whole."""
    half = inputs.shape[0] // 2
    if half == 0:
        return False
    with torch.no_grad():
        alone, within = model(inputs[:half]), outputs[:half].detach()
    scale = float(within.abs().max()) + 1e-30
    return alone.shape != within.shape or float((alone - within).abs().max()) > 1e-4 * scale


def gauss_newton_traces(
    objective: Objective, chosen: GaussNewtonPlan, *, generator: torch.Generator | None = None
) -> Tensor:
    """Tr G of every free parameter tensor, ``(parameters,)`` in float64; their sum is Tr G.

    Args:
        objective: Where.
        chosen: What :func:`plan` found, without an obstacle.
        generator: Draws one class an example instead of going through all: an unbiased estimate.
    """
    norms = squared_norms_by_use if chosen.by_use else squared_norms_by_vmap

    def visit(risk: Risk, batch: Batch) -> list[Tensor]:
        inputs, targets = batch
        root = curvature_root(risk.loss, targets)
        assert isinstance(root, CurvatureRoot)
        cotangents = partial(_vectors, root, generator)
        total = norms(risk.replica.model, risk.replica.layout.names, inputs, cotangents)
        return [total / inputs.shape[0]]

    (means,) = objective.average(visit, gradients=chosen.outputs if generator is None else 1)
    return means


def _vectors(root: CurvatureRoot, generator: torch.Generator | None, outputs: Tensor) -> Tensor:
    """All s_k, or one that is drawn, ``(K, B, C)``."""
    return root.vectors(outputs) if generator is None else root.sample(outputs, generator).unsqueeze(0)
