"""The second derivative of a loss in the outputs as ``Σ_k s_k s_kᵀ``: in closed form, or by autograd.

With such a square root of ``∂²ℓ/∂f²`` per example, ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: squared per-example
gradients, and no products with G.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.objective.loss_functions import (
    BatchLoss,
    LabelWeights,
    Loss,
    averages_examples,
    label_weights,
    placed_loss,
    taken_apart,
)


@dataclass(frozen=True)
class CurvatureRoot:
    """A square root of the curvature of a loss in its outputs.

    Attributes:
        vectors: ``vectors(outputs)`` → all s_k of every example, ``(K, B, C)`` for outputs ``(B, C)``.
        sample: ``sample(outputs, generator)`` → one random s with ``E[s sᵀ] = ∂²ℓ/∂f²``, ``(B, C)``.
    """

    vectors: Callable[[Tensor], Tensor]
    sample: Callable[[Tensor, torch.Generator], Tensor]


def curvature_root(loss: object, targets: Tensor) -> CurvatureRoot | str:
    """The root for cross-entropy, squared error or binary cross-entropy, or why there is none.

    Args:
        loss: The mean-reduced loss function.
        targets: Those of a batch; with class numbers all examples must count.
    """
    function, options = taken_apart(loss)
    if not averages_examples(loss):
        return f"{_named(function)} may do more than the loss that it derives from"
    weight = options.get("weight", getattr(function, "weight", None))
    if _is(function, nn.CrossEntropyLoss) or function is functional.cross_entropy:
        if weight is not None:
            return "cross-entropy with class weights"
        if not targets.is_floating_point() and bool((targets == _ignored(loss)).any()):
            return "cross-entropy that ignores some targets"
        if targets.is_floating_point() and not torch.allclose(
            targets.sum(1), torch.ones_like(targets[:, 0]), atol=1e-5
        ):
            return "cross-entropy with targets that do not sum to 1"
        return _CROSS_ENTROPY
    if _is(function, nn.MSELoss) or function is functional.mse_loss:
        return _SQUARED_ERROR if weight is None else "squared error with weights"
    if _is(function, nn.BCEWithLogitsLoss) or function is functional.binary_cross_entropy_with_logits:
        if weight is not None or options.get("pos_weight", getattr(function, "pos_weight", None)) is not None:
            return "binary cross-entropy with weights"
        return _BINARY
    return f"the curvature of {_named(function)} in the outputs is not known"


def _is(loss: object, kind: type[nn.Module]) -> bool:
    """Whether a loss is of that class, or of one derived from it here: a class of somebody else's may do anything."""
    ours = type(loss).__module__.partition(".")[0] == __name__.partition(".")[0]
    return type(loss) is kind or (ours and isinstance(loss, kind))


def _named(loss: object) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


def _ignored(loss: object) -> int:
    return (label_weights(loss) or LabelWeights()).ignored


def curvature_by_autograd(
    loss: Loss, outputs: Tensor, targets: Tensor, *, weight: float
) -> tuple[Tensor, Tensor]:
    """Vectors s_k with ``Σ_k s_k s_kᵀ`` the positive and the negative part of ``weight · ∂²ℓ_B/∂f²``, ``(C, B, C)``.

    It is taken block by block, an example each, in double precision where the loss allows it. A convex loss has no
    negative part.

    Args:
        loss: The mean over examples that do not see each other.
        outputs: ``(B, C)``.
        targets: Those of the batch.
        weight: What the mean of the batch is divided by.
    """
    if weight <= 0:
        nothing = outputs.new_zeros(outputs.shape[1], *outputs.shape)
        return nothing, nothing
    try:
        double = placed_loss(loss, outputs.device, torch.float64)
        blocks = _blocks(double, outputs.double(), targets, weight)
    except RuntimeError:  # a tensor in the closure of a loss keeps its precision
        blocks = _blocks(loss, outputs, targets, weight).double()
    values, vectors = torch.linalg.eigh((blocks + blocks.mT) / 2)
    smallest = 1e-12 * values.abs().amax(dim=1, keepdim=True)

    def root(part: Tensor) -> Tensor:
        lengths = torch.where(part > smallest, part, 0.0).sqrt()
        columns: Tensor = vectors * lengths[:, None, :]
        return columns.permute(2, 0, 1).to(outputs.dtype)

    return root(values), root(-values)


def _blocks(loss: Loss, outputs: Tensor, targets: Tensor, weight: float) -> Tensor:
    """The second derivative of ``weight`` times the loss in the outputs of each example, ``(B, C, C)``."""
    assert not isinstance(loss, BatchLoss)
    scores = outputs.detach().requires_grad_()
    known = targets.to(scores.dtype) if targets.is_floating_point() else targets
    slope: Tensor
    (slope,) = torch.autograd.grad(weight * loss(scores, known), scores, create_graph=True)
    if not slope.requires_grad:
        return scores.new_zeros(*scores.shape, scores.shape[1])
    rows = [
        torch.autograd.grad(column.sum(), scores, retain_graph=True, materialize_grads=True)[0]
        for column in slope.unbind(1)
    ]
    return torch.stack(rows, dim=1)


def _softmax_root(outputs: Tensor) -> Tensor:
    """The columns of the Cholesky factor of diag(p) − p pᵀ; there are only C − 1, for the last is zero.

    With q_k = Σ_{j>k} p_j, column k is √(p_k q_k / q_{k−1}) on the diagonal and −p_i/q_k times that below it:
    no differences, hence no cancellation where one class has nearly all the probability.

    Reference:
        Tanabe and Sagae, "An exact Cholesky decomposition and the generalized inverse of the variance–covariance
        matrix of the multinomial distribution", J. R. Statist. Soc. B 54(1), 1992.
    """
    p = torch.softmax(outputs, dim=1)
    rest = p.flip(1).cumsum(1).flip(1)  # q_{k−1}, which includes p_k
    tail = rest[:, 1:]
    diagonal = (p[:, :-1] * (tail / rest[:, :-1]).nan_to_num(0.0)).sqrt()
    shares = (p[:, None, :] / tail[:, :, None]).nan_to_num(0.0, posinf=0.0)  # (B, C − 1, C)
    unit = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)[:-1]
    root: Tensor = diagonal[:, :, None] * (unit - shares.triu(1))
    return root.movedim(1, 0)


def _softmax_sample(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """e_c − p with c ~ p."""
    p = torch.softmax(outputs, dim=1)
    classes = torch.multinomial(p.double().cpu(), 1, generator=generator).to(p.device)
    return torch.zeros_like(p).scatter_(1, classes, 1.0) - p


def _square_root(outputs: Tensor) -> Tensor:
    rows, classes = outputs.shape
    axes = math.sqrt(2.0 / classes) * torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
    return axes.unsqueeze(1).expand(classes, rows, classes)


def _square_sample(outputs: Tensor, generator: torch.Generator) -> Tensor:
    signs = 2 * torch.randint(0, 2, outputs.shape, generator=generator) - 1
    return signs.to(outputs).mul_((2.0 / outputs.shape[1]) ** 0.5)


def _binary_root(outputs: Tensor) -> Tensor:
    """√(p_k (1 − p_k)/C) e_k: labels do not see each other."""
    p = torch.sigmoid(outputs)
    return torch.diag_embed((p * (1 - p) / outputs.shape[1]).sqrt()).movedim(1, 0)


def _binary_sample(outputs: Tensor, generator: torch.Generator) -> Tensor:
    p = torch.sigmoid(outputs)
    signs = 2 * torch.randint(0, 2, outputs.shape, generator=generator) - 1
    return signs.to(outputs) * (p * (1 - p) / outputs.shape[1]).sqrt()


_CROSS_ENTROPY = CurvatureRoot(_softmax_root, _softmax_sample)
_SQUARED_ERROR = CurvatureRoot(_square_root, _square_sample)
_BINARY = CurvatureRoot(_binary_root, _binary_sample)
