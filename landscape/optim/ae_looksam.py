"""AE-LookSAM: LookSAM with the SAM steps of AE-SAM."""

from landscape.optim.ae_sam import LongGradientSteps
from landscape.optim.looksam import ReusedAscent
from landscape.registry.bounds import Finite


class AELookSAM(LongGradientSteps, ReusedAscent):
    """SAM where ``‖g‖² ≥ μ + c σ``, ``d = g + α ‖g‖ g_v / ‖g_v‖`` elsewhere.

    The policy is that of :class:`~landscape.optim.ae_sam.AESAM`, the rule that of
    :class:`~landscape.optim.looksam.LookSAM`: 1 + ζ gradients a step, where ζ is the share of SAM steps, about
    a fifth with these defaults.

    Args:
        base, model, max_grad_norm: See :class:`SharpnessAware`.
        total_steps: Steps of the whole run, ≥ 1, over which c goes from λ₂ to λ₁; ``landscape train`` sets it.
        rho: Radius ρ ≥ 0. 0.05 on CIFAR-10, 0.1 on CIFAR-100 (unverified).
        alpha: Length α ≥ 0 of the reused part, relative to g.
        delta: Decay δ of the running mean and variance, 0 ≤ δ < 1.
        lambda1: c at the end; the lower, the more SAM steps.
        lambda2: c at the beginning.

    Reference:
        Jiang, Yang, Zhang, Kwok, 2023, arXiv 2304.14647. unverified: that ``g_v`` is renewed at every SAM step
        and that g is used before the first one, which is inferred; λ₁ and λ₂, which on normally distributed
        ‖g‖² give the share of SAM steps that the authors report; α, which is LookSAM's.
    """

    lambda1: Finite = 0.0
    lambda2: Finite = 2.0
