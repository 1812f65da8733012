"""Weighted gap: a weighted sum of the loss nearby and its gap to the loss here, which GSAM is compared with."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative, Share


class WeightedGap(SharpnessAware):
    """Weighted surrogate gap: ``d = λ g_p + (1 − λ)(g_p − g)``, of ``λ f_p + (1 − λ) h``. Two gradients a step.

    ``f_p = L(w + ε)`` with ``ε = ρ g / ‖g‖``, held constant, and ``h = f_p − L(w)`` is the surrogate gap. The sum is
    ``f_p − (1 − λ) L(w)``: the smaller λ, the less of the loss itself is minimised, and none where λ = 0. It is λ times
    the objective of GNP with ``α = 1/λ``, and its directions are shorter than those of SAM by as much.

    Args:
        rho: Radius ρ ≥ 0.
        lam: Weight λ of the perturbed loss, from 0 to 1; 1 is SAM.

    Reference:
        Zhuang et al., 2022, arXiv 2203.08065, who report that a weighted sum is worse than GSAM, whose second term is
        orthogonal to g_p. unverified: the form of their sum and their λ, known from notes on the paper; no code.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    lam: Share = 0.9

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The perturbed gradient minus 1 − λ times the gradient."""
        perturbed = gradients_at.along(self.perturbed(gradients), self.rho)
        return perturbed if self.lam == 1 else perturbed.sub_(gradients, alpha=1 - self.lam)
