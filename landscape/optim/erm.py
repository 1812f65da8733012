"""ERM: plain descent with the interface of the sharpness-aware optimizers, so that a loop has one kind of step."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware


class ERM(SharpnessAware):
    """Empirical risk minimisation: ``d = g``, the base optimizer as it is. One gradient a step."""

    is_by_shards = True
    is_single_pass = True

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient itself."""
        return gradients
