"""AE-LookSAM: LookSAM with the SAM steps of AE-SAM."""

from dataclasses import field

from landscape.optim.ae_sam import LongGradientSteps
from landscape.optim.looksam import LookSAM
from landscape.registry.bounds import Finite


class AELookSAM(LongGradientSteps, LookSAM):
    """SAM where ``‖g‖² ≥ μ + c σ``, ``d = g + α ‖g‖ g_v / ‖g_v‖`` elsewhere.

    The policy is that of :class:`~landscape.optim.ae_sam.AESAM`, the rule that of
    :class:`~landscape.optim.looksam.LookSAM`: 1 + ζ gradients a step, where ζ is the share of SAM steps, about
    a fifth with these defaults.

    Args:
        total_steps, rho, delta, lambda1, lambda2: See :class:`~landscape.optim.ae_sam.AESAM`.
        alpha: Length α ≥ 0 of the reused part, relative to g.

    Reference:
        Jiang, Yang, Zhang, Kwok, 2023, arXiv 2304.14647. unverified: that ``g_v`` is renewed at every SAM step
        and that g is used before the first one, which is inferred; λ₁ and λ₂, which on normally distributed
        ‖g‖² give the share of SAM steps that the authors report; α, which is LookSAM's.
    """

    is_by_shards = True

    k: int = field(init=False, default=1)  # the policy of long gradients takes the place of the period
    lambda1: Finite = 0.0
    lambda2: Finite = 2.0
