"""n-step SAM: SAM with several steps of ascent."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length, unit
from landscape.registry.bounds import NonNegative, Positive, PositiveInt


class NStepSAM(SharpnessAware):
    """N-step SAM: ``d = ∇L(w + ε_N)`` with ``ε_{i+1} = Π(ε_i + s u(∇L(w + ε_i)))`` and ``ε₀ = 0``.

    u(x) is x / ‖x‖ and Π projects onto the ball ``‖ε‖ ≤ ρ``. One gradient more than steps of ascent. Where groups
    have radii of their own, the ball is ``‖ε / ρ‖ ≤ 1``.

    Args:
        ascent_steps: How many steps N ≥ 1; with one step the rule is SAM's.
        stride: Length of a step as a share of the radius, ``s = stride ρ``, above 0. 1 in the public codes;
            ``1 / ascent_steps`` for a path that ends at the boundary.

    Reference:
        Foret et al., 2021, arXiv 2010.01412, and Andriushchenko, Flammarion, 2022, arXiv 2206.06232, who study
        SAM with several steps. Optax's ``sync_period`` takes the same steps without the projection.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    ascent_steps: PositiveInt = 2
    stride: Positive = 1.0

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at the end of the ascent, which runs in the unit ball of ε / ρ."""
        place = torch.zeros_like(gradients)
        for _ in range(self.ascent_steps):
            place.add_(unit(self.perturbed(gradients), times=self.stride, out=gradients))
            place.div_(length(place).clamp_(min=1.0))
            gradients = gradients_at(place * self.rho)
        return gradients
