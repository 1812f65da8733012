"""AE-SAM: SAM where the gradient is long for the present phase of the training, the base elsewhere."""

import math
from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from landscape.draws import Draws
from landscape.optim.policy import Memory, Policy
from landscape.optim.sam import SAM
from landscape.optim.sharpness_aware import NotFiniteError, SharpnessAware, length
from landscape.optim.vector import number
from landscape.reductions import exact
from landscape.registry.bounds import Finite, PositiveInt, ShareBelowOne


@dataclass(eq=False)
class LongGradient(Policy):
    """A step looks around where ``s = ‖g‖²`` is at least ``μ + c σ``, with running mean and deviation of s.

    Each step first updates ``μ ← δμ + (1 − δ)s``, then ``σ² ← δσ² + (1 − δ)(s − μ)²`` with the new μ. The
    threshold c changes linearly from λ₂ at the first step to λ₁ at the last. As s is part of its own
    statistics, ``|s − μ| ≤ σ / √(1 − δ)``: for δ = 0.9, any c above 3.17 means never, below −3.17 always.

    Args:
        total_steps: All steps of the run, ≥ 1; at later ones ``c = λ₁``.
        delta: Decay δ of the statistics, 0 ≤ δ < 1.
        lambda1: λ₁, any finite number.
        lambda2: λ₂, any finite number.
    """

    total_steps: PositiveInt
    _: KW_ONLY
    delta: ShareBelowOne
    lambda1: Finite
    lambda2: Finite

    def looks_around(self, gradients: Tensor, memory: Memory, *, step: int, draws: Draws) -> bool:
        """Whether the gradient is long, after it has entered the statistics."""
        size, keep = length(gradients), self.delta
        norm = (
            number(size) if size.is_cpu else exact(size)
        )  # numbers of Python are quicker, where reading is free
        square = norm * norm
        mean = keep * memory.get("mean", 0.0) + (1 - keep) * square
        deviation = square - mean
        variance = keep * memory.get("variance", math.exp(-10)) + (1 - keep) * deviation * deviation
        excess = deviation - self.threshold(step) * variance**0.5
        if isinstance(excess, Tensor):
            excess = number(excess)  # the one read of a step
        if not math.isfinite(excess):
            raise NotFiniteError("a gradient is too long for its squared length to have a variance")
        memory["mean"], memory["variance"] = mean, variance
        return excess >= 0

    def threshold(self, step: int) -> float:
        """The c of a step, counted from 0."""
        done = min(step / self.total_steps, 1.0)
        return done * self.lambda1 + (1 - done) * self.lambda2


class LongGradientSteps(SharpnessAware):
    """The hyper-parameters that AE-SAM and AE-LookSAM share, and the policy made of them."""

    total_steps: PositiveInt
    delta: ShareBelowOne = 0.9
    lambda1: Finite = -1.0
    lambda2: Finite = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.policy = LongGradient(
            self.total_steps, delta=self.delta, lambda1=self.lambda1, lambda2=self.lambda2
        )


class AESAM(LongGradientSteps, SAM):
    """Adaptive SAM steps: ``d = ∇L(w + ρ g / ‖g‖)`` where ``‖g‖² ≥ μ + c σ``, else g.

    1 + ζ gradients a step, where ζ is the share of SAM steps: about a half with these defaults. The policy,
    with μ, σ and c, is :class:`LongGradient`.

    Args:
        max_grad_norm: See :class:`SharpnessAware`; the test is on the gradient that is not clipped.
        total_steps: Steps of the whole run, ≥ 1, over which c goes from λ₂ to λ₁; ``landscape train`` sets it.
        rho: Radius ρ ≥ 0. 0.05 on CIFAR-10, 0.1 on CIFAR-100 (unverified).
        delta: Decay δ of the running mean and variance, 0 ≤ δ < 1.
        lambda1: c at the end; the lower, the more SAM steps.
        lambda2: c at the beginning.

    Reference:
        Jiang, Yang, Zhang, Kwok, 2023, arXiv 2304.14647. unverified: λ₁, λ₂, the start μ = 0, σ² = e⁻¹⁰ and the
        line of c, known from re-implementations; on normally distributed ‖g‖² these give the share of SAM
        steps that the authors report. They print SAM without normalising g; here it is as in SAM. g is that
        of the loss, without weight decay, in the groups that are perturbed.
    """

    is_by_shards = True
