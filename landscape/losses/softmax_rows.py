"""Cross-entropy and its first two derivatives in the scores, in closed form and a few rows at a time.

With p the softmax of a row of scores f, ``ℓ = a log Σ_c exp f_c − Σ_c q_c f_c`` has the slope ``a p − q`` and the
curvature ``S t = a (p ∘ t − p (p · t))``. Autograd keeps several arrays of tokens times vocabulary for them; here p is
computed again from the scores, in float64 where there is one, and nothing of that size is kept beside the scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from landscape.reductions import exact_dtype

CHUNK_ELEMENTS = 1 << 19
"""Scores that are computed with at once: 4 MiB in float64."""


def chunks(scores: Tensor) -> Iterator[slice]:
    """The rows of ``(R, C)``, a few at a time."""
    step = max(1, CHUNK_ELEMENTS // max(1, scores.shape[1]))
    return (slice(start, start + step) for start in range(0, len(scores), step))


def bent(scores: Tensor, tangent: Tensor, weights: Tensor) -> Tensor:
    """``a (p ∘ t − p (p · t))`` for rows of scores and of tangents ``(R, C)`` with weights a ``(R,)``."""
    result, wide = (
        torch.empty_like(tangent, memory_format=torch.contiguous_format),
        exact_dtype(scores.device),
    )
    for rows in chunks(scores):
        f, t = scores[rows].to(wide), tangent[rows].to(wide)
        # A constant in t is without effect. With that of the likeliest class taken out nothing cancels where p is
        # nearly 1.
        t = t - t.gather(1, f.argmax(1, keepdim=True))
        p = torch.softmax(f, dim=1)
        t.mul_(p).addcmul_(p, t.sum(1, keepdim=True), value=-1).mul_(weights[rows, None].to(wide))
        # Rows of weight 0 may have scores that are not finite.
        result[rows] = torch.where(weights[rows, None] != 0, t, 0.0).to(result.dtype)
    return result


@dataclass(frozen=True, eq=False)
class SoftmaxRows:
    """What cross-entropy adds up over rows of scores ``(R, C)`` with class numbers.

    Attributes:
        labels: The class numbers ``(R,)``; any for rows that do not count.
        picked: The weight of the label in each row, ``(R,)``.
        shares: The weight of all classes in each row, ``(R,)``; ``None`` without label smoothing.
        classes: The weights of the classes, ``(C,)``, of which these are shares; ``None`` for 1/C each.
    """

    labels: Tensor
    picked: Tensor
    shares: Tensor | None = None
    classes: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """The weight a of the curvature of each row, ``(R,)``."""
        if self.shares is None:
            return self.picked
        return self.picked + (self.shares if self.classes is None else self.shares * self.classes.sum())

    def loss(self, scores: Tensor) -> Tensor:
        """The weighted sum, 0-dim."""
        wide = exact_dtype(scores.device)
        total, all_weights = torch.zeros((), dtype=wide, device=scores.device), self.weights
        for rows in chunks(scores):
            f, weights = scores[rows].to(wide), all_weights[rows]
            label = f.gather(1, self.labels[rows, None])[:, 0]
            level = f.logsumexp(1)
            # Differences first: with a good fit the level and the label's score are nearly the same.
            losses = self.picked[rows] * (level - label)
            if self.shares is not None:
                mean = f.mean(1) if self.classes is None else f @ self.classes
                scale = 1.0 if self.classes is None else self.classes.sum()
                losses = losses + self.shares[rows] * (scale * level - mean)
            total += torch.where(weights != 0, losses, 0.0).sum()
        return total

    def slope(self, scores: Tensor, factor: Tensor) -> Tensor:
        """Its gradient in the scores times a number, ``(R, C)`` in their precision."""
        result, wide = (
            torch.empty_like(scores, memory_format=torch.contiguous_format),
            exact_dtype(scores.device),
        )
        all_weights = self.weights
        for rows in chunks(scores):
            f, weights = scores[rows].to(wide), all_weights[rows, None]
            p, label = torch.softmax(f, dim=1), self.labels[rows, None]
            # 1 − p of the label as the sum of the others, which is no difference of nearly equal numbers.
            others = p.scatter(1, label, 0.0).sum(1, keepdim=True)
            part = (p * self.picked[rows, None]).scatter_(1, label, -others * self.picked[rows, None])
            if self.shares is not None:
                total = 1.0 if self.classes is None else self.classes.sum()
                each = 1.0 / f.shape[1] if self.classes is None else self.classes
                part += self.shares[rows, None] * (total * p - each)
            result[rows] = torch.where(weights != 0, part * factor, 0.0).to(result.dtype)
        return result

    def differentiable(self, scores: Tensor) -> Tensor:
        """The loss with two derivatives, which keep no array of the size of the scores beside them and the slope."""
        value: Tensor = _Loss.apply(scores, self)
        return value


class _Loss(torch.autograd.Function):
    """The sum, whose derivative is the closed form."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, rows: SoftmaxRows) -> Tensor:
        ctx.save_for_backward(scores)
        ctx.rows = rows
        return rows.loss(scores)

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> Any:
        (scores,) = ctx.saved_tensors
        return _Slope.apply(scores, factor, ctx.rows), None


class _Slope(torch.autograd.Function):
    """The derivative, whose own is the closed form of the curvature."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, factor: Tensor, rows: SoftmaxRows) -> Tensor:
        ctx.save_for_backward(scores, factor)
        ctx.rows = rows
        return rows.slope(scores, factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, tangent: Tensor) -> Any:
        scores, factor = ctx.saved_tensors
        along = image = None
        if ctx.needs_input_grad[0]:
            image = bent(scores, tangent, ctx.rows.weights * factor)
        if ctx.needs_input_grad[1]:
            slope = ctx.rows.slope(scores, torch.ones_like(factor))
            along = (slope * tangent).sum().to(factor.dtype)
        return image, along, None
