"""WSAM: sharpness as a term of its own, with a weight, and in a step of its own."""

from typing import Literal

import torch
from torch import Tensor, nn

from landscape.optim.bounds import one_of, within
from landscape.optim.gnp import GNP
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.vector import unit

Mode = Literal["decoupled", "coupled"]


class WSAM(GNP):
    """Weighted sharpness-aware minimisation: ``L + γ / (1 − γ) (L(w + ε) − L)``. Two gradients a step.

    With ``α = γ / (1 − γ)`` and ``g_p = ∇L(w + ε)``, ``ε = ρ g / ‖g‖``: mode ``"coupled"`` is the gradient of
    the objective, ``d = (1 − α) g + α g_p``, the rule of GNP. Mode ``"decoupled"`` gives the base g only, and
    then moves the weights by ``−lr α (g_p − g)``, so that sharpness does not enter momentum and moments.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Radius ρ ≥ 0.
        gamma: Weight γ of the sharpness, 0 ≤ γ < 1; 0 is the base alone, 0.5 is SAM. The authors used 0.88.
        mode: ``"decoupled"`` or ``"coupled"``. The same where the base is SGD without momentum.
        max_grad_norm: Length to which the direction is clipped; ``None`` for no clipping. In mode
            ``"decoupled"`` g and ``g_p`` are clipped each, as in the authors' code, which has 1.0.

    Reference:
        Yue, Jiang, Ye, Gao, Liu, Zhang, 2023, arXiv 2305.15817, algorithms 1 and 2. Default γ: kozistr's
        pytorch_optimizer.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.05,
        gamma: float = 0.9,
        mode: Mode = "decoupled",
        max_grad_norm: float | None = None,
    ) -> None:
        self.gamma = within("gamma", gamma, 0.0, 1.0, open_high=True)
        super().__init__(
            base, model=model, rho=rho, alpha=self.gamma / (1 - self.gamma), max_grad_norm=max_grad_norm
        )
        self.mode = one_of("mode", mode, ("decoupled", "coupled"))

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """GNP's direction, or g while the difference waits for the base's step."""
        if self.mode == "coupled":
            return super().direction(gradients, gradients_at)
        perturbed = gradients_at(unit(self.perturbed(gradients), times=self.rho))
        self._sharpness = self.clipped(perturbed).sub_(self.clipped(gradients))
        return gradients

    def after_step(self) -> None:
        """The step along the difference, at each group's learning rate."""
        if self.mode == "coupled":
            return
        rates = self.spread([float(group["lr"]) * self.alpha for group in self.param_groups])
        self.flat.assign(self.weights - self._sharpness.mul_(rates))
        del self._sharpness
