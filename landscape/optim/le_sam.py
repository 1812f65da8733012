"""LE-SAM: SAM whose radius rises as the gradient falls, so that the loss rises by as much."""

import math

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length, unit
from landscape.optim.vector import SMALL
from landscape.registry.bounds import NonNegative, PositiveInt, Share


class LESAM(SharpnessAware):
    """Loss-equated SAM: ``d = ∇L(w + ε)`` with ``ε = min(σ / ‖g‖, ρ) g / ‖g‖``. Two gradients a step.

    To first order the loss rises by σ from w to w + ε, whatever the length of g, until ε has length ρ. In the last part
    of the training σ falls to zero, as half a cosine.

    Args:
        rho: The largest radius ρ ≥ 0.
        sigma: The rise σ ≥ 0 of the loss.
        decay_from: Share of the training after which σ falls, from 0; 1 for a constant σ.
        total_steps: Steps of the whole run; ``landscape train`` sets it.

    Reference:
        Wang, Liu, Xie, Gao, 2026, arXiv 2605.10183, and the authors' code. σ is that of their command for CIFAR-100, ρ
        the default of their code, whose command has no bound (999), and σ falls in the last 40 of 200 epochs. There σ
        changes after epochs, here after steps.
    """

    is_by_shards = True

    rho: NonNegative = 0.5
    sigma: NonNegative = 0.35
    decay_from: Share = 0.8
    total_steps: PositiveInt

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        ascent = self.perturbed(gradients)
        reach = self.rise() / (length(ascent) + SMALL)
        share = (reach / (self.rho + SMALL)).clamp_(max=1.0)
        return gradients_at(unit(ascent, times=self.rho).mul_(share))

    def rise(self) -> float:
        """The σ of this step."""
        first = round(self.decay_from * self.total_steps)
        if self.attempts < first:
            return self.sigma
        done = min(1.0, (self.attempts - first) / max(1, self.total_steps - 1 - first))
        return self.sigma * (1 + math.cos(math.pi * done)) / 2
