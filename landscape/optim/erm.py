"""ERM: plain descent with the interface of the sharpness-aware optimizers, so that a loop has one kind of step."""

from dataclasses import field

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware


class ERM(SharpnessAware):
    """Empirical risk minimisation: ``d = g``, the base optimizer as it is. One gradient a step."""

    is_by_shards = True
    is_single_pass = True
    acts_throughout = True

    start: float = field(init=False, default=0.0)
    stop: float = field(init=False, default=1.0)
    total_steps: int | None = field(init=False, default=None)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient itself."""
        return gradients
