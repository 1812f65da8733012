"""Unified SAM: SAM whose displacement is normalised in part, between SAM and unnormalised SAM."""

from typing import Literal

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length
from landscape.optim.vector import SMALL
from landscape.registry.bounds import NonNegative, Share


class UnifiedSAM(SharpnessAware):
    """Unified SAM: ``d = ∇L(w + ε)`` with ``ε = ρ (1 − λ + λ / ‖g‖) g``. Two gradients a step.

    With λ = 1 it is SAM, and with λ = 0 unnormalised SAM (USAM), ``ε = ρ g``, whose displacement shrinks with the
    gradient and depends on the unit of the loss.

    Args:
        rho: Radius ρ ≥ 0.
        lam: Share λ of the normalised displacement, from 0 to 1, where ``schedule`` is ``"constant"``.
        schedule: ``"constant"``; ``"1/t"`` for λ = 1/t at step t, counted from 1, which goes from SAM to USAM;
            ``"1-1/t"`` for the way back.

    Reference:
        Oikonomou, Loizou, 2025, arXiv 2503.02225; rule and schedules as in the authors' code. USAM: Andriushchenko,
        Flammarion, 2022, arXiv 2206.06232. ρ is that of their example, and λ the middle of their range.
    """

    is_by_shards = True

    rho: NonNegative = 0.1
    lam: Share = 0.5
    schedule: Literal["constant", "1/t", "1-1/t"] = "constant"

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        ascent, lam = self.perturbed(gradients), self.share()
        if lam == 1:
            return gradients_at.along(ascent, self.rho)
        factor = lam / (length(ascent) + SMALL) + (1 - lam)
        return gradients_at(ascent * (factor * self.rho))

    def share(self) -> float:
        """The λ of this step."""
        falling = 1 / (self.attempts + 1)
        return {"constant": self.lam, "1/t": falling, "1-1/t": 1 - falling}[self.schedule]
