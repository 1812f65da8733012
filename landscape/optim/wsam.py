"""WSAM: sharpness as a weighted term, in a step of its own."""

from dataclasses import field
from typing import Literal

import torch
from torch import Tensor

from landscape.optim.gnp import GNP
from landscape.optim.sharpness_aware import GradientsAt
from landscape.registry.bounds import NonNegative, ShareBelowOne


class WSAM(GNP):
    """Weighted sharpness-aware minimisation: ``L + γ / (1 − γ) (L(w + ε) − L)``. Two gradients a step.

    With ``α = γ / (1 − γ)`` and ``g_p = ∇L(w + ε)``, ``ε = ρ g / ‖g‖``: mode ``"coupled"`` is the gradient of
    the objective, ``d = (1 − α) g + α g_p``, the rule of GNP. Mode ``"decoupled"`` gives the base g only, and
    then moves the weights by ``−lr α (g_p − g)``, so that sharpness does not enter momentum and moments.

    Args:
        max_grad_norm: Length to which the direction is clipped; ``None`` for no clipping. In mode
            ``"decoupled"`` g and ``g_p`` are each clipped, as in the authors' code, which has 1.0.
        rho: Radius ρ ≥ 0.
        gamma: Weight γ of the sharpness, 0 ≤ γ < 1; 0 is the base alone, 0.5 is SAM. The authors used 0.88.
        mode: ``"decoupled"`` or ``"coupled"``. The same where the base is SGD without momentum.

    Reference:
        Yue, Jiang, Ye, Gao, Liu, Zhang, 2023, arXiv 2305.15817, algorithms 1 and 2. Default γ: kozistr's
        pytorch_optimizer.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    gamma: ShareBelowOne = 0.9
    mode: Literal["decoupled", "coupled"] = "decoupled"

    alpha: float = field(init=False)
    normalize_clean: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.alpha = self.gamma / (1 - self.gamma)
        self._sharpness: Tensor | None = None

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """GNP's direction, or g while the difference waits for the base's step."""
        if self.mode == "coupled":
            return super().direction(gradients, gradients_at)
        perturbed = gradients_at.along(self.perturbed(gradients), self.rho)
        self._sharpness = self.clipped(perturbed).sub_(self.clipped(gradients))
        return gradients

    def direction_between(self, gradients: Tensor) -> Tensor:
        """The gradient itself, and no difference after it."""
        self._sharpness = None
        return gradients

    def after_step(self) -> None:
        """The step along the difference, at each group's learning rate."""
        if self._sharpness is None:
            return
        rates = self.spread([float(group["lr"]) * self.alpha for group in self.param_groups])
        self.flat.assign(self.weights - torch.where(self.step_is_good, self._sharpness.mul_(rates), 0.0))
        self._sharpness = None
