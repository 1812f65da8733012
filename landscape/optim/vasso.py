"""VaSSO: SAM whose displacement follows a running average of the gradients, which varies less with the batch."""

import torch
from torch import Tensor, nn

from landscape.optim.bounds import within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import unit


class VaSSO(SharpnessAware):
    """Variance-suppressed SAM: ``d = ∇L(w + ε)`` with ``a ← (1 − θ) a + θ g`` and ``ε = ρ a / ‖a‖``.

    The first step has ``a = g``. Two gradients a step.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0. 0.2 for a WRN-28-10 on CIFAR-100.
        theta: Share θ of the present gradient, above 0 and at most 1; at 1 the rule is SAM's.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Li, Giannakis, 2023, arXiv 2309.15639; the defaults are those of the authors' script. unverified: the
        paper also reports θ = 0.4.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.2,
        theta: float = 0.9,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.theta = within("theta", theta, 0.0, 1.0, open_low=True)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        average = self.memory.get("average")
        average = torch.lerp(average, gradients, self.theta) if isinstance(average, Tensor) else gradients
        self.memory["average"] = average
        return gradients_at(unit(self.perturbed(average), times=self.rho))
