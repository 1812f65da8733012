"""SAMPa: SAM whose two gradients do not depend on each other."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative, Share


class SAMPa(SharpnessAware):
    """SAMPa-λ: ``d = (1 − λ) ∇L(w + ρ u(g)) + λ ∇L(y)`` with ``y = w − lr g``; then g becomes ``∇L(y)``.

    u(x) is x / ‖x‖. y is where a plain step would lead, and g, the gradient at the y of the step before, stands for
    the one at w. In the first step y is w, and ``g = ∇L(w)``. Two gradients a step that do not depend on each other;
    here they are computed one after the other. The loss of a step is L(y).

    Args:
        base: The optimizer that takes the step; y uses its learning rate, and neither its momentum nor its decay.
        model: The network; needed if it has batch norm, whose running statistics are then those at y.
        rho: Radius ρ ≥ 0. Radius zero alone is not the base, because of the gradient at y.
        lam: Weight λ of the gradient at y, from 0 to 1; 0 for the rule SAMPa.

    Reference:
        Xie et al., 2024, arXiv 2410.10683; the defaults are those of the authors' code. That code takes the gradient
        at w + ρ u(g) on the batch of the step before, on a second device, and adds momentum and decay of the base
        to y; here both gradients are of the step's own batch, and y is the paper's.
    """

    is_by_shards = True

    rho: NonNegative = 0.1
    lam: Share = 0.2

    def first_displacement(self) -> Tensor | None:
        """Where y is; groups that are not to be perturbed stay."""
        g = self.remembered("gradient")
        if g is None:
            return None
        return self.perturbed(-g * self.spread([float(group["lr"]) for group in self.param_groups]))

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradients at the displaced weights and at y, weighted."""
        g = self.remembered("gradient")
        self.memory["gradient"] = gradients
        displaced = gradients_at.along(self.perturbed(gradients if g is None else g), self.rho)
        return displaced.mul_(1 - self.lam).add_(gradients, alpha=self.lam)
