"""Adaptive-GSAM: GSAM whose displacement is scaled with the weights, down to a floor."""

from typing import Literal

import torch
from torch import Tensor, nn

from landscape.optim.bounds import one_of, within
from landscape.optim.gsam import GSAM

Scaling = Literal["abs", "asam"]


class AdaptiveGSAM(GSAM):
    """GSAM with ``ε = ρ (|w| + γ) ⊙ g / ‖g‖`` on every parameter. Two gradients a step.

    The direction is GSAM's, ``d = g_p − α g_⊥``. The length of ε is not ρ but follows the weights, and is
    mostly far below it: compare with GSAM at a radius that gives the same ``‖ε‖``.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        rho: Factor ρ ≥ 0 of the displacement.
        alpha: Weight α ≥ 0 of the gap.
        gamma: Floor γ ≥ 0 of the scale; 0 gives GSAM's own ``adaptive="abs"``.
        adaptive: ``"abs"`` for the rule above; ``"asam"`` for ``ε = ρ T² g / ‖T g‖`` with ``T = |w| + γ``, the
            worst ε in the ball ``‖T⁻¹ε‖ ≤ ρ``.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Student report, Oxford C6.5, 2025, code a1b2jpg/Theories-of-Deep-Learning; the defaults are those of
        its code. It calls ``"abs"`` scale-invariant, which it is not, and prints the ball of ASAM without the
        inverse of T.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.5,
        alpha: float = 0.04,
        gamma: float = 0.1,
        adaptive: Scaling = "abs",
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, alpha=alpha, max_grad_norm=max_grad_norm)
        self.adaptive = one_of("adaptive", adaptive, ("abs", "asam"))
        self.gamma = within("gamma", gamma, 0.0)

    def scale(self) -> Tensor:
        """What scales ε, shape ``(n,)``: ``|w| + γ``."""
        return super().scale().add_(self.gamma)
