"""ZSharp: SAM along the coordinates of the gradient that stand out in their layer."""

from typing import Literal

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length, unit
from landscape.optim.vector import SMALL
from landscape.registry.bounds import NonNegative, ShareBelowOne


class ZSharp(SharpnessAware):
    """ZSharp: ``d = ∇L(w + ε)`` with ``ε = ρ m⊙g / ‖m⊙g‖``, where m is one on the largest Z-scores.

    The Z-score of a coordinate is ``(gᵢ − mean) / deviation`` over its parameter tensor, and m keeps those whose size
    is above the quantile q. Where none is, ε goes along g. Two gradients a step.

    Args:
        rho: Radius ρ ≥ 0.
        quantile: q, from 0 to below 1; 0.95 keeps the top 5 %.
        threshold: ``"network"``: one quantile of the scores of all tensors, and ‖ε‖ = ρ. ``"tensor"``, the rule of the
            authors' code: a quantile for each tensor of two and more dimensions, whose part of ε has length ρ by
            itself, while the others get theirs of SAM's ε.

    Reference:
        Yun, 2025, arXiv 2505.02369, with its defaults. ``"tensor"`` is the code in the author's README, with the
        deviation over n − 1. unverified: ``"network"``, over n, the paper's rule as two third parties state it.
    """

    rho: NonNegative = 0.05
    quantile: ShareBelowOne = 0.95
    threshold: Literal["network", "tensor"] = "network"

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        ascent = self.perturbed(gradients)
        if self.threshold == "tensor":
            return gradients_at(self.by_tensor(ascent))
        scores = self.scores(ascent)
        kept = torch.where(scores > _above(self.least(scores)), ascent, 0.0)
        return gradients_at.along(torch.where(length(kept) > 0, kept, ascent), self.rho)

    def scores(self, ascent: Tensor) -> Tensor:
        """The size of the Z-score of each coordinate ``(n,)``; −1 in the groups that are not perturbed."""
        scores = torch.empty_like(ascent)
        for score, own in zip(self.flat.split(scores), self.flat.split(ascent), strict=True):
            deviation, mean = torch.std_mean(own, correction=0)
            score.copy_(((own - mean) / (deviation + SMALL)).abs_())
        for group, part in zip(self.param_groups, self.flat.group_slices, strict=True):
            if not group.get("perturb", True):
                scores[part] = -1.0
        return scores

    def least(self, scores: Tensor) -> Tensor:
        """The quantile of the scores that are not −1, 0-dim, interpolated between two of them."""
        slices = zip(self.param_groups, self.flat.group_slices, strict=True)
        left_out = sum(part.stop - part.start for group, part in slices if not group.get("perturb", True))
        place = self.quantile * (len(scores) - left_out - 1)
        # Not torch.quantile, which takes 16 million numbers at most.
        below = scores.kthvalue(left_out + int(place) + 1).values
        above = scores.kthvalue(min(left_out + int(place) + 2, len(scores))).values
        return below.lerp(above, place - int(place))

    def by_tensor(self, ascent: Tensor) -> Tensor:
        """ε ``(n,)`` of the authors' code."""
        displacement = unit(ascent)
        for target, own in zip(self.flat.split(displacement), self.flat.split(ascent), strict=True):
            if own.ndim < 2:
                continue
            flat = own.flatten()
            deviation, mean = torch.std_mean(flat, correction=min(1, len(flat) - 1))
            scores = ((flat - mean) / (deviation + SMALL)).abs_()
            place = self.quantile * (len(flat) - 1)
            below = scores.kthvalue(int(place) + 1).values
            above = scores.kthvalue(min(int(place) + 2, len(flat))).values
            kept = torch.where(scores > _above(below.lerp(above, place - int(place))), flat, 0.0)
            size = length(kept)
            target.copy_(torch.where(size > 0, kept / (size + SMALL), target.flatten()).view(target.shape))
        return displacement * self.rho


def _above(least: Tensor) -> Tensor:
    """A little more than a threshold: of scores that are equal, as with two classes, rounding would keep some."""
    return least * (1 + 1e3 * torch.finfo(least.dtype).eps)
