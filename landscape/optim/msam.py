"""MSAM: the gradient at a point ahead along the momentum of the base."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative


class MSAM(SharpnessAware):
    """Momentum-SAM: ``d = ∇L(w − ρ v / ‖v‖)``, with v the momentum of the base. One gradient a step.

    v is the heavy-ball buffer of SGD or the first moment of Adam and its kind; the point is the one ahead along the
    next update, as with Nesterov. Where the base has no momentum, v is the gradient of the step before, which is
    heavy ball with factor zero. The first step has ``v = 0``. The loss of a step is that of the displaced weights.

    Args:
        model: The network; needed if it has batch norm, whose running statistics are then those of the displaced
            weights: estimate them anew before evaluation if ρ is large.
        rho: Radius ρ ≥ 0. 3 for a WRN-16-4 on CIFAR-100 and for vision transformers.

    Reference:
        Becker, Altrock, Risse, 2024, arXiv 2401.12033; the default is that of the authors' class. Their code keeps
        the model displaced between steps and evaluates weight decay there; here the weights are w whenever a step
        is over, and weight decay is the base's.
    """

    is_by_shards = True
    is_single_pass = True
    is_single_pass = True
    rho: NonNegative = 0.3

    def first_displacement(self) -> Tensor:
        """−ρ v / ‖v‖."""
        return unit(self.perturbed(self.momentum()), times=self.rho).neg_()

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at the displaced weights."""
        if not self._base_has_momentum():
            self.memory["gradient"] = gradients
        return gradients

    def momentum(self) -> Tensor:
        """v, shape ``(n,)``."""
        earlier = self.remembered("gradient")
        if earlier is not None and not self._base_has_momentum():
            return earlier
        states = [self.base.state.get(p, {}) for p in self.flat.parameters]
        return self.flat.flatten([s.get("momentum_buffer", s.get("exp_avg")) for s in states])

    def _base_has_momentum(self) -> bool:
        # Adam and its kind have "betas", SGD a "momentum" that may be zero; schedule-free bases keep no momentum.
        return any(
            (group.get("momentum") or "betas" in group) and "train_mode" not in group
            for group in self.param_groups
        )
