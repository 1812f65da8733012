"""GAM: SAM that also lowers the longest gradient nearby."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, orthogonal, significant, unit
from landscape.registry.bounds import NonNegative, Share


class GAM(SharpnessAware):
    """Gradient-norm aware minimisation: ``d = h₊ − γ h₋⊥``. Four gradients a step.

    With u(x) = x / ‖x‖, ``g₀ = ∇L(w)`` and ``g₁ = ∇L(w + ρ' u(g₀))``, the gradient grows along
    ``h = g₁ − g₀``; two more are evaluated where it is longest nearby, at ``w₂ = w + ρ u(h)``:
    ``g₂ = ∇L(w₂)`` and ``g₃ = ∇L(w₂ + ρ' u(g₂))``. Then ``h₊ = α g₁ + (1 − α) g₃``,
    ``h₋ = β g₀ + (1 − β) g₂``, and ``h₋⊥`` is the part of ``h₋`` orthogonal to ``h₊``.

    Args:
        rho: Radius ρ' ≥ 0 of the two ascents along a gradient; the base alone at 0.
        norm_rho: Radius ρ ≥ 0 of the ascent of the gradient's length, in groups with the default ``rho``; in
            a group with its own it is larger or smaller in the same proportion.
        alpha: Share α of the gradient nearest to SAM's, from 0 to 1.
        beta: Share β of the gradient at the weights, from 0 to 1.
        gamma: Weight γ ≥ 0 of the orthogonal part; with α = 1 and γ = 0 it is SAM.

    Reference:
        Zhang, Xu, Yu, Zou, Cui, 2023, arXiv 2303.03108, the accelerated algorithm. Their (ρ, ρ', β, α, γ):
        (0.2, 0.02, 0.5, 0.6, 0.03), the default, for ResNets on CIFAR-100; (0.2, 0.04, 0.3, 0.5, 0.05) for
        PyramidNets there; (0.2, 0.03, 0.1, 0.1, 0.05) for ResNets on CIFAR-10, with γ = 0.03 for PyramidNets.
        Their code has ``g₀`` for ``β g₀``; this is the paper. h counts as zero where it is only rounding.
    """

    is_by_shards = True

    rho: NonNegative = 0.02
    norm_rho: NonNegative = 0.2
    alpha: Share = 0.6
    beta: Share = 0.5
    gamma: NonNegative = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        rho = self.base.defaults["rho"]
        # At ρ' = 0 there is no ascent: h is zero, and so is its direction.
        self._proportion = self.norm_rho / rho if rho else 0.0

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradients at four points, weighted, less γ times what is orthogonal."""
        rho = self.rho
        first = gradients_at.along(self.perturbed(gradients), rho)
        steepest = self.perturbed(significant(first - gradients, of=gradients))
        there = unit(steepest, times=rho * self._proportion)
        second = gradients_at(there)
        third = gradients_at(there.add_(unit(self.perturbed(second), times=rho)))
        plus = first.mul_(self.alpha).add_(third, alpha=1 - self.alpha)
        minus = gradients.mul_(self.beta).add_(second, alpha=1 - self.beta)
        return plus.sub_(orthogonal(minus, to=plus, out=minus), alpha=self.gamma)
