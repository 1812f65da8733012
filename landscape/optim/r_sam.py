"""R-SAM: SAM whose ascent starts from a random point nearby."""

from typing import Literal

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length
from landscape.registry.bounds import NonNegative


class RSAM(SharpnessAware):
    """Random SAM: ``d = ∇L(w + ε)`` with ``ε = ρ u(δ + λ g_δ)`` and ``g_δ = ∇L(w + δ)``. Two gradients a step.

    u(x) is x / ‖x‖. Every coordinate of the noise δ is drawn from ``N(0, σ² ‖w_f‖²)``, where w_f is the filter
    it belongs to: the weights of one output of a tensor with two or more dimensions, or the whole tensor. Neither
    gradient is that at w, so the loss of a step is L(w + δ).

    Args:
        model: The network; needed if it has batch norm, whose running statistics are then those at w + δ.
        rho: Radius ρ ≥ 0. Parameters of radius zero get no noise either.
        sigma: Size σ ≥ 0 of the noise, relative to the filter; at 0 the rule is SAM's.
        lam: Weight λ ≥ 0 of the gradient beside the noise, in mode ``"combined"``.
        mode: ``"combined"``: ε goes along both noise and gradient; ``"smoothed"``: along g_δ alone.

    Reference:
        Liu, Mai, Cheng, Chen, Hsieh, You, 2022, "Random sharpness-aware minimization", NeurIPS. unverified: the
        paper's formula and its ρ, σ and λ could not be read, and two public codes disagree; the abstract has a
        random smoothing followed by one ascent step from the gradient at the noisy point, as both modes here.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    sigma: NonNegative = 0.05
    lam: NonNegative = 1.0
    mode: Literal["combined", "smoothed"] = "combined"

    def first_displacement(self) -> Tensor:
        """The noise δ."""
        self._noise = self.noise()
        return self._noise

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        ascent = self.perturbed(gradients)
        if self.mode == "combined":
            ascent = self._noise.add_(ascent, alpha=self.lam)
        return gradients_at.along(ascent, self.rho)

    def noise(self) -> Tensor:
        """δ of this step, shape ``(n,)``: normal numbers, scaled with the filters."""
        weights = self.weights.detach()
        noise = self.flat.drawn(self.draws.normals, 1, like=weights)[0]
        for part, weight in zip(self.flat.split(noise), self.flat.split(weights), strict=True):
            if weight.ndim > 1:  # a process that has a part of a tensor has whole filters of it
                part.mul_(torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True))
            else:
                part.mul_(length(weight.flatten()))
        # A group of radius zero is not displaced.
        sizes = self.spread([self.sigma * (self.radius(group) > 0) for group in self.param_groups])
        return self.perturbed(noise.mul_(sizes))
