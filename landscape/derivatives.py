"""Derivatives of the loss on one batch, each as what is done when a batch is visited.

Products use double backward with ``torch.autograd.grad``: the graph of the gradient is built once a batch
and serves every vector. Never ``.backward(create_graph=True)``, which leaves a reference cycle in ``.grad``.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.batches import Batch
from landscape.errors import UsageError
from landscape.risk import BatchLoss, Risk, correct


@dataclasses.dataclass(frozen=True)
class BatchGradients:
    """What is kept of the gradient of every batch: its squared norm and size, each ``(batches,)``."""

    squared_norms: Tensor
    sizes: Tensor


def gradient(risk: Risk, batch: Batch) -> list[Tensor]:
    """``[∇ℓ_B (n,), ℓ_B, fraction right if known]``."""
    loss, outputs, targets = risk.forward(batch)
    return [_flat(risk, [loss]), loss.detach().double(), *correct(outputs, targets)]


def hessian_products(risk: Risk, batch: Batch, columns: Sequence[Tensor]) -> list[Tensor]:
    """``[∇²ℓ_B v for every column v (n,)]``."""
    loss, _, _ = risk.forward(batch)
    slope = (
        torch.autograd.grad(
            loss, risk.replica.parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        if loss.requires_grad
        else [torch.zeros_like(p) for p in risk.replica.parameters]
    )
    curved = [i for i, part in enumerate(slope) if part.requires_grad]
    products = []
    for k, column in enumerate(columns):
        parts = risk.replica.layout.split(column)
        products.append(
            _flat(
                risk,
                [slope[i] for i in curved],
                [parts[i] for i in curved],
                retain_graph=k + 1 < len(columns),
            )
        )
    return products


def gauss_newton_products(risk: Risk, batch: Batch, columns: Sequence[Tensor]) -> list[Tensor]:
    """``[Jᵀ (∂²ℓ/∂f²) J v for every column v (n,)]`` with J the Jacobian of the outputs f.

    ``J v`` is the derivative of ``u ↦ Jᵀ u`` in direction v, by a second backward pass.
    """
    if isinstance(risk.loss, BatchLoss):
        raise UsageError(
            "the Gauss–Newton matrix needs the network's outputs, which a BatchLoss hides; "
            "pass loss(outputs, targets) and (inputs, targets) batches"
        )
    _, outputs, targets = risk.forward(batch)
    cotangent = torch.zeros_like(outputs, requires_grad=True)
    transposed = torch.autograd.grad(
        outputs,
        risk.replica.parameters,
        cotangent,
        create_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    scores = outputs.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(risk.loss(scores, targets), scores, create_graph=True)
    products = []
    for column in columns:
        (tangent,) = torch.autograd.grad(
            transposed,
            cotangent,
            risk.replica.layout.split(column),
            retain_graph=True,
            materialize_grads=True,
        )
        bent = torch.zeros_like(tangent)
        if slope.requires_grad:
            (bent,) = torch.autograd.grad(slope, scores, tangent, retain_graph=True, materialize_grads=True)
        products.append(_flat(risk, [outputs], [bent], retain_graph=True))
    return products


def _flat(
    risk: Risk,
    outputs: Sequence[Tensor],
    grad_outputs: Sequence[Tensor] | None = None,
    *,
    retain_graph: bool = False,
) -> Tensor:
    """The derivative of ``outputs`` in θ as one vector ``(n,)``; zero where nothing depends on θ."""
    if not any(output.requires_grad for output in outputs):
        return torch.zeros_like(risk.replica.origin)
    return risk.replica.layout.flatten(
        torch.autograd.grad(
            outputs,
            risk.replica.parameters,
            grad_outputs=grad_outputs,
            retain_graph=retain_graph,
            allow_unused=True,
            materialize_grads=True,
        )
    )
