"""AdaSAM: SAM's gradient, scaled coordinate by coordinate as in AMSGrad."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative, Positive, ShareBelowOne


class AdaSAM(SharpnessAware):
    """SAM with an adaptive learning rate: ``d = m / √v̂``. Two gradients a step.

    ``m ← β₁m + (1−β₁) g_p``, ``v ← β₂v + (1−β₂) g_p²``, ``v̂ ← max(v̂, v)`` from ``v̂ = eps²``, without bias
    correction, for SAM's gradient g_p. The paper's step is ``w − lr d``: that of a base which adds nothing,
    ``sgd:momentum=0,weight_decay=0``. Its learning rates are those of Adam, about 1e-3 and below.

    Args:
        beta1: Decay of the mean of the gradients, in [0, 1).
        beta2: Decay of the mean of their squares, in [0, 1).
        eps: Initial value of √v̂, > 0.

    Reference:
        Sun et al., 2023, arXiv 2303.00565, algorithm 1 (unverified: read in a third-party implementation, as
        the authors have published none; unverified: all four defaults).
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    eps: Positive = 1e-8

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The mean of SAM's gradients over the root of the largest mean of their squares."""
        perturbed = gradients_at.along(self.perturbed(gradients), self.rho)
        mean = self._moment("mean", perturbed, self.beta1)
        square = self._moment("square", perturbed.square(), self.beta2)
        earlier = self.remembered("largest")
        # Parameters that joined later have zero here; all begin at eps².
        largest = (square if earlier is None else torch.maximum(earlier, square)).clamp(min=self.eps**2)
        self.memory["largest"] = largest
        return mean / largest.sqrt()

    def _moment(self, name: str, vector: Tensor, decay: float) -> Tensor:
        earlier = self.remembered(name)
        moment = (torch.zeros_like(vector) if earlier is None else earlier).lerp(vector, 1 - decay)
        self.memory[name] = moment
        return moment
