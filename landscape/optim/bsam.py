"""bSAM: SAM as variational Bayes, with a variance for each weight."""

import math
from typing import Annotated

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import Integer, NonNegative, Positive, Real, ShareBelowOne


class BSAM(SharpnessAware):
    """Bayesian SAM: ``d = m / s`` from gradients at a sample of the posterior and at ``w + ε``. Two a step.

    Pass 1 is at ``w + N(0, 1) / √(N s)`` and gives g; pass 2 is at ``w + ρ g / s``, not normalised, and gives
    g_ε. Then ``m ← β₁ m + (1 − β₁)(g_ε + δ w)``, ``d = m / s``, and ``s ← β₂ s + (1 − β₂)(√s |g| + δ + damping)``.
    The loss of a step is the one at the sample. The paper's step is ``w − lr d``: that of a base which adds
    nothing, ``sgd:momentum=0,weight_decay=0``; the weight decay is δ.

    Args:
        num_examples: Examples N of the training set.
        rho: Radius ρ ≥ 0, relative to 1/s.
        beta1: Decay of m, in [0, 1).
        beta2: Decay of s, in [0, 1).
        delta: Prior precision δ ≥ 0 over N: the weight decay.
        damping: Added to s, ≥ 0; with δ more than 0.
        s_init: Initial s, > 0.

    Reference:
        Möllenhoff, Khan, 2023, arXiv 2210.01620, algorithm 1; ρ, β and the damping are those of the authors'
        code, with a learning rate of 0.5 (unverified: δ and the initial s). That code averages the rule over 8
        slices of a batch.
    """

    is_by_shards = True

    num_examples: Annotated[int, Integer(1, 2**63 - 1, "above 0", truncates=True)]
    rho: NonNegative = 0.01
    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    delta: NonNegative = 5e-4
    damping: NonNegative = 0.1
    s_init: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        Real(0, open_low=self.delta == 0).check("damping", self.damping)

    def first_displacement(self) -> Tensor:
        """A sample of the posterior, relative to its mean w."""
        s = self._precision()
        normal = self.flat.drawn(self.draws.normals, 1, like=s)[0]
        return self.perturbed(normal.div_(s.sqrt().mul_(math.sqrt(self.num_examples))))

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The momentum over the precision at the beginning of this step."""
        s = self._precision()
        perturbed = gradients_at(self.perturbed(self.rho * gradients / s))
        earlier = self.remembered("mean")
        mean = torch.zeros_like(s) if earlier is None else earlier
        mean = mean.lerp(perturbed.add_(self.weights, alpha=self.delta), 1 - self.beta1)
        curvature = gradients.abs_().mul_(s.sqrt()).add_(self.delta + self.damping)
        self.memory["mean"], self.memory["precision"] = mean, s.lerp(curvature, 1 - self.beta2)
        return mean / s

    def _precision(self) -> Tensor:
        s = self.remembered("precision")
        if s is None:
            return torch.full_like(self.weights, self.s_init)
        # Parameters that joined later have zero here.
        return torch.where(s > 0, s, self.s_init)
