"""Adaptive-GSAM: GSAM whose displacement is scaled with the weights, down to a floor."""

from dataclasses import field
from typing import Literal

from torch import Tensor

from landscape.optim.gsam import GSAM
from landscape.registry.bounds import NonNegative


class AdaptiveGSAM(GSAM):
    """GSAM with ``ε = ρ (|w| + γ) ⊙ g / ‖g‖`` on every parameter. Two gradients a step.

    The direction is GSAM's, ``d = g_p − α g_⊥``. The length of ε is not ρ but follows the weights, and is
    mostly far below it: compare with GSAM at a radius that gives the same ``‖ε‖``.

    Args:
        rho: Factor ρ ≥ 0 of the displacement.
        alpha: Weight α ≥ 0 of the gap.
        gamma: Floor γ ≥ 0 of the scale; 0 gives GSAM's own ``adaptive="abs"``.
        adaptive: ``"abs"`` for the rule above; ``"asam"`` for ``ε = ρ T² g / ‖T g‖`` with ``T = |w| + γ``, the
            worst ε in the ball ``‖T⁻¹ε‖ ≤ ρ``.

    Reference:
        Student report, Oxford C6.5, 2025, code a1b2jpg/Theories-of-Deep-Learning; the defaults are those of
        its code. It calls ``"abs"`` scale-invariant, which it is not, and prints the ball of ASAM without the
        inverse of T.
    """

    is_by_shards = True

    rho: NonNegative = 0.5
    alpha: NonNegative = 0.04
    gamma: NonNegative = 0.1
    # The report has a constant radius.
    rho_max: None = field(init=False, default=None)
    rho_min: float = field(init=False, default=0.0)
    lr_max: None = field(init=False, default=None)
    lr_min: float = field(init=False, default=0.0)
    adaptive: Literal["abs", "asam"] = "abs"

    def scale(self) -> Tensor:
        """The scale of ε, shape ``(n,)``: ``|w| + γ``."""
        return super().scale().add_(self.gamma)
