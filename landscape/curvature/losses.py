"""Losses whose second derivative in the outputs is known in closed form, written as ``Σ_k s_k s_kᵀ``.

With such a square root of ``∂²ℓ/∂f²`` per example, ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: squared per-example
gradients, and no products with G.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class CurvatureRoot:
    """A square root of the curvature of a loss in its outputs.

    Attributes:
        count: How many vectors s_k there are for outputs ``(B, C)``.
        vector: ``vector(outputs, k)`` → s_k of every example, ``(B, C)``.
        sample: ``sample(outputs, generator)`` → one random s with ``E[s sᵀ] = ∂²ℓ/∂f²``, ``(B, C)``.
    """

    count: Callable[[Tensor], int]
    vector: Callable[[Tensor, int], Tensor]
    sample: Callable[[Tensor, torch.Generator], Tensor]


def curvature_root(loss: object, targets: Tensor) -> CurvatureRoot | str:
    """The root for cross-entropy or squared error, or why there is none.

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
    return f"the curvature of {getattr(loss, '__name__', type(loss).__name__)} in the outputs is not known"


def _softmax_column(outputs: Tensor, k: int) -> Tensor:
    """√p_k (e_k − p): the sum of their squares over k is diag(p) − p pᵀ."""
    p = torch.softmax(outputs, dim=1)
    root = p[:, k : k + 1].sqrt()
    column = -root * p
    column[:, k] += root[:, 0]
    return column


def _softmax_sample(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """e_c − p with c ~ p."""
    p = torch.softmax(outputs, dim=1)
    classes = torch.multinomial(p.double().cpu(), 1, generator=generator).to(p.device)
    return torch.zeros_like(p).scatter_(1, classes, 1.0) - p


def _square_column(outputs: Tensor, k: int) -> Tensor:
    column = torch.zeros_like(outputs)
    column[:, k] = (2.0 / outputs.shape[1]) ** 0.5
    return column


def _square_sample(outputs: Tensor, generator: torch.Generator) -> Tensor:
    signs = 2 * torch.randint(0, 2, outputs.shape, generator=generator) - 1
    return signs.to(outputs).mul_((2.0 / outputs.shape[1]) ** 0.5)


_CROSS_ENTROPY = CurvatureRoot(lambda f: f.shape[1], _softmax_column, _softmax_sample)
_SQUARED_ERROR = CurvatureRoot(lambda f: f.shape[1], _square_column, _square_sample)
