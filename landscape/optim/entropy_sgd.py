"""Entropy-SGD: descent on the local entropy, which is low where the loss is low all around."""

import math

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative, NonNegativeInt, Positive, ShareBelowOne


class EntropySGD(SharpnessAware):
    """Entropy-SGD: ``d = w − μ``, μ the mean of L steps of Langevin dynamics around w. L gradients a step.

    From ``w̃ = μ = w``, L times: ``w̃ ← w̃ − η [∇L(w̃) − γ (w − w̃)] + √(2η) ε N(0, I)``, with momentum, and
    ``μ ← β₁ μ + (1 − β₁) w̃``. The pull towards w grows with the steps: ``γ_t = γ₀ (1 + γ₁)^t``.

    Each of the L gradients is one of a fresh batch: of a closure that draws one whenever it is called, or of a
    :class:`~landscape.optim.BatchClosure` with ``another``. With a closure of one batch, all are of that batch.
    Batch-norm statistics are those of the first. The direction already has the length of a step: a learning
    rate of 1 goes to μ, over ``sgd:momentum=0``, and one of 0.1 goes with a momentum of 0.9, which the authors'
    code has, Nesterov's, in both loops.

    Args:
        langevin_steps: L ≥ 0; with 0 the step is that of the base.
        inner_lr: η > 0.
        noise: ε ≥ 0.
        gamma: γ₀ ≥ 0. 1e-4 for MNIST, 0.03 for CIFAR-10.
        gamma_growth: γ₁ ≥ 0.
        average: β₁ in [0, 1).
        inner_momentum: Nesterov momentum of the L steps, in [0, 1); it starts from zero in each step.

    Reference:
        Chaudhari et al., 2017, arXiv 1611.01838, algorithm 1, with the defaults of the authors' code; the
        paper has the outer step multiplied by γ. That code computes one gradient more, which it discards, and
        never counts its steps, so that γ does not grow (unverified: that its inner momentum starts anew).
    """

    is_by_shards = True

    langevin_steps: NonNegativeInt = 20
    inner_lr: Positive = 0.1
    noise: NonNegative = 1e-4
    gamma: NonNegative = 1e-4
    gamma_growth: NonNegative = 1e-3
    average: ShareBelowOne = 0.75
    inner_momentum: ShareBelowOne = 0.9

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """From the mean of the inner weights back to w. The first inner gradient is that of pass 1."""
        if self.langevin_steps == 0:
            return gradients
        pull = self.gamma * (1 + self.gamma_growth) ** self.attempts
        # All relative to w: w̃ = w + inner, μ = w + mean.
        inner, mean, velocity = (torch.zeros_like(gradients) for _ in range(3))
        normals = self.flat.drawn_one_by_one(self.draws.normals, self.langevin_steps, like=inner)
        for number in range(self.langevin_steps):
            own = gradients if number == 0 else gradients_at(inner, closure=gradients_at.another())
            slope = own.add_(inner, alpha=pull)
            velocity.mul_(self.inner_momentum).add_(slope)
            inner.add_(slope, alpha=-self.inner_lr).add_(velocity, alpha=-self.inner_lr * self.inner_momentum)
            if self.noise > 0:
                inner.add_(next(normals), alpha=math.sqrt(2 * self.inner_lr) * self.noise)
            inner = self.perturbed(inner)
            mean.mul_(self.average).add_(inner, alpha=1 - self.average)
        return mean.neg_()
