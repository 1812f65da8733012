"""Eigen-SAM: SAM turned towards the direction of largest curvature."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, dot, length, unit
from landscape.registry.bounds import NonNegative, PositiveInt


class EigenSAM(SharpnessAware):
    """Eigen-SAM: ``d = ∇L(w + ε)`` with ``ε = ρ (u + α sign⟨g, v⟩ (v − ⟨u, v⟩ u))`` and ``u = g / ‖g‖``.

    v is the unit eigenvector of the Hessian's largest eigenvalue in size. It is estimated by power iteration on
    the batch of every ``every``-th step, starting from the one before; the steps before the first estimate are
    those of SAM. ε is not made shorter again: ``‖ε‖ = ρ √(1 + α² ‖v − ⟨u, v⟩ u‖²)``.

    Two gradients a step, and two for each power iteration: the product of the Hessian with v is the difference
    ``(∇L(w + hv) − ∇L(w − hv)) / 2h``.

    Args:
        alpha: Weight α ≥ 0 of the eigenvector; at 0 the rule is SAM's.
        every: Steps ≥ 1 from one estimate of v to the next.
        power_iterations: Iterations ≥ 1 of an estimate.

    Reference:
        Luo et al., 2024, arXiv 2501.12666; the defaults are those of the authors' code, which differentiates twice
        for the products and needs one gradient more for each estimate.
    """

    is_by_shards = True

    rho: NonNegative = 0.1
    alpha: NonNegative = 0.2
    every: PositiveInt = 100
    power_iterations: PositiveInt = 5

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        if self.attempts > 0 and self.attempts % self.every == 0:
            self.memory["eigenvector"] = self._eigenvector(gradients_at)
        ascent = unit(self.perturbed(gradients))
        v = self.remembered("eigenvector")
        if v is not None:
            cosine = dot(ascent, v)
            ascent = ascent + self.alpha * torch.sign(cosine) * (v - cosine * ascent)
        return gradients_at(ascent * self.rho)

    def _eigenvector(self, gradients_at: GradientsAt) -> Tensor:
        v = unit(self.perturbed(self.flat.drawn(self.draws.normals, 1, like=self.weights)[0]))
        earlier = self.remembered("eigenvector")
        if earlier is not None:
            v = torch.where(length(earlier) > 0, earlier, v)
        # The cube root balances the error of the third derivative with that of rounding.
        h = torch.finfo(v.dtype).eps ** (1 / 3) * length(self.weights).clamp_(min=1.0)
        for _ in range(self.power_iterations):
            product = gradients_at(h * v) - gradients_at(-h * v)
            v = unit(self.perturbed(product).div_(2 * h))
        return v
