"""Losses whose second derivative in the outputs is known in closed form, written as ``Σ_k s_k s_kᵀ``.

With such a square root of ``∂²ℓ/∂f²`` per example, ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: squared per-example
gradients, and no products with G.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class CurvatureRoot:
    """A square root of the curvature of a loss in its outputs.

    Attributes:
        vectors: ``vectors(outputs)`` → all s_k of every example, ``(K, B, C)`` for outputs ``(B, C)``.
        sample: ``sample(outputs, generator)`` → one random s with ``E[s sᵀ] = ∂²ℓ/∂f²``, ``(B, C)``.
    """

    vectors: Callable[[Tensor], Tensor]
    sample: Callable[[Tensor, torch.Generator], Tensor]


MEANS = (
    nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.BCEWithLogitsLoss, nn.BCELoss, nn.L1Loss, nn.SmoothL1Loss,
    nn.HuberLoss, nn.SoftMarginLoss, nn.MultiLabelSoftMarginLoss, nn.MultiMarginLoss, nn.MultiLabelMarginLoss,
    nn.PoissonNLLLoss,
)  # fmt: skip
"""Losses that are a weighted mean of what each example contributes by itself."""

FUNCTIONS = (
    functional.cross_entropy, functional.nll_loss, functional.mse_loss, functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits, functional.l1_loss, functional.smooth_l1_loss,
    functional.huber_loss,
)  # fmt: skip


def averages_examples(loss: object) -> bool:
    """Whether the loss is known to be a weighted mean over examples none of which sees the others.

    A class of its own says so by an attribute of that name; it is not inherited, as a subclass may do anything.
    """
    known = type(loss) in MEANS or any(loss is one for one in FUNCTIONS)
    return known or bool(vars(type(loss)).get("averages_examples", False))


def curvature_root(loss: object, targets: Tensor) -> CurvatureRoot | str:
    """The root for cross-entropy, squared error or binary cross-entropy, or why there is none.

    Args:
        loss: The mean-reduced loss function.
        targets: Those of a batch; with class numbers all examples must count.
    """
    if isinstance(loss, nn.CrossEntropyLoss) or loss is nn.functional.cross_entropy:
        if getattr(loss, "weight", None) is not None:
            return "cross-entropy with class weights"
        if not targets.is_floating_point() and bool((targets == getattr(loss, "ignore_index", -100)).any()):
            return "cross-entropy that ignores some targets"
        if targets.is_floating_point() and not torch.allclose(
            targets.sum(1), torch.ones_like(targets[:, 0]), atol=1e-5
        ):
            return "cross-entropy with targets that do not sum to 1"
        return _CROSS_ENTROPY
    if isinstance(loss, nn.MSELoss) or loss is nn.functional.mse_loss:
        return _SQUARED_ERROR
    if isinstance(loss, nn.BCEWithLogitsLoss) or loss is nn.functional.binary_cross_entropy_with_logits:
        if getattr(loss, "weight", None) is not None or getattr(loss, "pos_weight", None) is not None:
            return "binary cross-entropy with weights"
        return _BINARY
    return f"the curvature of {getattr(loss, '__name__', type(loss).__name__)} in the outputs is not known"


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
