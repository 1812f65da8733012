"""Focal-SAM: SAM whose sharpness counts more for rare classes."""

from collections.abc import Sequence
from dataclasses import field

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim.batch_closure import Evaluation
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative


class FocalSAM(SharpnessAware):
    """Focal-SAM: ``d = g + λ (∇L^γ(w + ε) − ∇L^γ(w))`` with ``ε = ρ ∇L^γ / ‖∇L^γ‖``. Three gradients a step.

    ``L^γ`` is the loss of the batch with the weight ``(1 − π)^γ`` for an example whose class has the share π of the
    training set: the sharpness of frequent classes counts less. Needs a :class:`~landscape.optim.BatchClosure` whose
    targets are numbers of classes, shape ``(B,)``.

    Args:
        class_counts: Training examples of each class; ``landscape train`` counts them.
        rho: Radius ρ ≥ 0. 0.05 for CLIP; 0.2 to 0.3 for a ResNet-32.
        gamma: γ ≥ 0; at 0 all classes count alike, and with λ = 1 the rule is SAM's.
        lam: Weight λ ≥ 0 of the sharpness.

    Reference:
        Li, Xu, Yang, Wang, Zhang, Cao, Huang, 2025, arXiv 2505.01660; the rule is that of the authors' code, and the
        defaults of its command for CLIP on CIFAR-10-LT.
    """

    is_by_shards = True
    needs_batch = True

    class_counts: Sequence[int] | None = field(default=None)
    rho: NonNegative = 0.05
    gamma: NonNegative = 1.5
    lam: NonNegative = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = [] if self.class_counts is None else [float(count) for count in self.class_counts]
        if not sum(counts) > 0 or min(counts) < 0:
            raise UsageError(
                "FocalSAM needs the number of training examples of each class; pass class_counts=[…], which "
                "`landscape train` does"
            )
        shares = torch.tensor(counts, dtype=torch.float64, device="cpu") / sum(counts)
        self._weights = ((1 - shares) ** self.gamma).to(self.flat.device, self.flat.values.dtype)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient and the weighted sharpness."""
        batch = gradients_at.batch
        if batch.targets.ndim != 1 or batch.targets.is_floating_point():
            kind = f"{batch.targets.dtype} of shape {tuple(batch.targets.shape)}"
            raise UsageError(
                f"FocalSAM needs targets that are numbers of classes, shape (B,), got {kind}; use sam"
            )
        weights = self._weights.index_select(0, batch.targets)

        def term(evaluation: Evaluation) -> Tensor:
            return ((weights - 1) * evaluation.losses).mean()  # which makes L of the closure L^γ

        focal = batch.plus(term)
        here = gradients_at(closure=focal)
        there = gradients_at(unit(self.perturbed(here), times=self.rho), closure=focal)
        return gradients.add_(there.sub_(here), alpha=self.lam)
