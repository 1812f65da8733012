"""AE-LookSAM: LookSAM that takes its SAM steps where AE-SAM does."""

import torch
from torch import nn

from landscape.optim.ae_sam import LongGradient
from landscape.optim.looksam import LookSAM


class AELookSAM(LookSAM):
    """SAM where ``‖g‖² ≥ μ + c σ``, ``d = g + α ‖g‖ g_v / ‖g_v‖`` elsewhere.

    The policy is that of :class:`~landscape.optim.ae_sam.AESAM`, the rule that of
    :class:`~landscape.optim.looksam.LookSAM`: 1 + ζ gradients a step, where ζ is the share of SAM steps, about
    a fifth with these defaults.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        total_steps: Steps of the whole run, ≥ 1, over which c goes from λ₂ to λ₁; ``landscape train`` knows it.
        rho: Radius ρ ≥ 0. 0.05 on CIFAR-10, 0.1 on CIFAR-100 (unverified).
        alpha: Length α ≥ 0 of what is used again, relative to g.
        delta: Decay δ of the running mean and variance, 0 ≤ δ < 1.
        lambda1: c at the end; the lower, the more SAM steps.
        lambda2: c at the beginning.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Jiang, Yang, Zhang, Kwok, 2023, arXiv 2304.14647. unverified: that ``g_v`` is renewed at every SAM step
        and that g is used before the first one, which is inferred; λ₁ and λ₂, which on normally distributed
        ‖g‖² give the share of SAM steps that the authors report; α, which is LookSAM's.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        total_steps: int,
        model: nn.Module | None = None,
        rho: float = 0.05,
        alpha: float = 0.7,
        delta: float = 0.9,
        lambda1: float = 0.0,
        lambda2: float = 2.0,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, alpha=alpha, max_grad_norm=max_grad_norm)
        self.policy = LongGradient(total_steps, delta=delta, lambda1=lambda1, lambda2=lambda2)
