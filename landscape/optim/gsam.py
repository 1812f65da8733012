"""GSAM: SAM that also closes the gap between the loss nearby and the loss here."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from landscape.errors import UsageError
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, orthogonal, unit
from landscape.registry.bounds import Finite, NonNegative, Real


class GSAM(SharpnessAware):
    """Surrogate-gap guided SAM: ``d = g_p − α g_⊥``. Two gradients a step.

    ``g_p = ∇L(w + ε)`` with ``ε = ρ g / ‖g‖`` and ``g_⊥`` is the part of g orthogonal to ``g_p``: to first
    order d lowers the perturbed loss as SAM does, and with it the surrogate gap ``h = L(w + ε) − L(w)``.

    The radius can follow the learning rate of each group, from ``rho_max`` at ``lr_max`` to ``rho_min`` at
    ``lr_min``: ``ρ = ρ_min + (ρ_max − ρ_min)(lr − lr_min) / (lr_max − lr_min)``, at least 0.

    Args:
        rho: Constant radius ρ ≥ 0; not used if ``rho_max`` is set.
        alpha: Weight α ≥ 0 of the gap. 0.1 for convolutional networks, 0.4 for vision transformers.
        rho_max: Radius at ``lr_max``, kept as the groups' ``"rho"``; ``None`` for the constant ``rho``.
        rho_min: Radius at ``lr_min``.
        lr_max: The highest learning rate; ``None`` for the initial one of a scheduler, or the present one.
        lr_min: The lowest learning rate.
        adaptive: ``"none"``; ``"abs"`` for ``ε = ρ |w| ⊙ g / ‖g‖``, as in the paper's algorithm;
            ``"asam"`` for ``ε = ρ w² ⊙ g / ‖w ⊙ g‖``, as in the authors' PyTorch code.

    Reference:
        Zhuang et al., 2022, arXiv 2203.08065, algorithm 1. The paper's radius is negative in a warm-up that
        starts below ``lr_min``; here it is at least 0.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    alpha: NonNegative = 0.1
    rho_max: NonNegative | None = None
    rho_min: NonNegative = 0.0
    lr_max: Finite | None = None
    lr_min: NonNegative = 0.0
    adaptive: Literal["none", "abs", "asam"] = "none"

    def __post_init__(self) -> None:
        if self.rho_max is None:
            if (self.rho_min, self.lr_max, self.lr_min) != (0.0, None, 0.0):
                raise UsageError(
                    "rho_min, lr_max and lr_min are for a radius that follows the learning rate; give rho_max too"
                )
            super().__post_init__()
            return
        self.rho = self.rho_max
        super().__post_init__()
        for group in self.param_groups:
            highest = group.get("initial_lr", group["lr"]) if self.lr_max is None else self.lr_max
            group["lr_max"] = Real(self.lr_min).check("lr_max", highest)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The perturbed gradient minus α times the part of g that is orthogonal to it."""
        if self.adaptive == "none":
            perturbed = gradients_at.along(self.perturbed(gradients), self.rho)
        else:
            perturbed = gradients_at(self.displacement(self.perturbed(gradients)))
        return perturbed.sub_(orthogonal(gradients, to=perturbed, out=gradients), alpha=self.alpha)

    def displacement(self, gradients: Tensor) -> Tensor:
        """The adaptive ε of a gradient, both ``(n,)``."""
        t = self.scale()
        if self.adaptive == "abs":
            return t * unit(gradients, times=self.rho)
        return t * unit(t * gradients, times=self.rho)

    def scale(self) -> Tensor:
        """The scale of an adaptive ε, shape ``(n,)``: ``|w|``."""
        return self.weights.abs()

    def radius(self, group: Mapping[str, Any]) -> float:
        """The radius of one group, at its present learning rate."""
        highest = super().radius(group)
        if self.rho_max is None:
            return highest
        # A group that was added later has no "lr_max" of its own.
        lr, lr_max = float(group["lr"]), group.get("lr_max", group.get("initial_lr", group["lr"]))
        if lr_max == self.lr_min:
            return highest
        share = (lr - self.lr_min) / (lr_max - self.lr_min)
        radius: float = max(0.0, self.rho_min + (highest - self.rho_min) * share)
        return radius
