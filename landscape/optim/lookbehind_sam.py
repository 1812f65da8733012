"""Lookbehind-SAM: several steps of ascent, and the mean way down from all of their places."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative, PositiveInt, PositiveShare


class LookbehindSAM(SharpnessAware):
    """Lookbehind-SAM: ``d = α Σᵢ ∇L(w + εᵢ)`` with ``εᵢ = εᵢ₋₁ + ρ u(∇L(w + εᵢ₋₁))``, i from 1 to k and ``ε₀ = 0``.

    u(x) is x / ‖x‖. The k slopes are those of k fast steps down from w, of which a share α is taken. The places, up to
    kρ away, are not projected, and the sum is no mean: d is about α k times as long as SAM's. k + 1 gradients a step,
    each of which serves the ascent from a place and the descent.

    Args:
        rho: Length ρ ≥ 0 of a step of the ascent.
        k: Steps k ≥ 1; with one step and α = 1 the rule is SAM's.
        alpha: Share α of the way down, above 0 and up to 1.

    Reference:
        Mordido, Malviya, Baratin, Chandar, 2024, arXiv 2307.16704; k and α are those of the authors' class (unverified:
        ρ, which is SAM's). There the base takes all k fast steps, so that its momentum sees each slope, and w becomes
        ``w + α (fast − w)``; here it takes one step along their sum, which is the same for descent without momentum and
        decay. An α from the angle between the fast steps, as the authors also have, is left out.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    k: PositiveInt = 5
    alpha: PositiveShare = 0.5

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The sum of the slopes at the places of the ascent, times α."""
        place, total = (torch.zeros_like(gradients) for _ in range(2))
        for _ in range(self.k):
            place.add_(unit(self.perturbed(gradients), times=self.rho))
            gradients = gradients_at(place)
            total.add_(gradients)
        return total.mul_(self.alpha)
