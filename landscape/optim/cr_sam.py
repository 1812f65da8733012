"""CR-SAM: SAM with a penalty on the curvature along the gradient."""

from dataclasses import field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from landscape.errors import UsageError
from landscape.optim.branches import Branches
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.processes.group import ALONE
from landscape.reductions import exact_dtype
from landscape.registry.bounds import NonNegative


class CRSAM(SharpnessAware):
    """Curvature-regularised SAM: ``d = g₊ + α (g₊ + g₋ − 2g) + β (g₊ − g₋)``. Three gradients a step.

    ``g₊`` and ``g₋`` are the gradients at w ± ε with ``ε = ρ g / ‖g‖``, held constant. The two terms are the
    gradients of ``D₂ = L₊ + L₋ − 2L ≈ ε'Hε`` and of ``D₁ = L₊ − L₋ ≈ 2ρ‖g‖``; in mode ``"log"`` each is
    divided by its D, which makes them the gradients of ``log D₂`` and ``log D₁``.

    Args:
        alpha: Weight α ≥ 0 of the curvature.
        beta: Weight β ≥ 0 of the slope. The paper has α > β.
        mode: ``"linear"``, the rule of the authors' code, or ``"log"``, the rule of the paper's equation 7.
            The latter needs losses in float32 or better: D₂ is a second difference.
        log_policy: In mode ``"log"``, the treatment of a term whose D is not above ``τ = 1e-6 max(1, |L|)``,
            where its logarithm is undefined or noise: ``"drop"`` leaves it out, ``"floor"`` divides by τ,
            ``"abs"`` divides by D with its sign, its size at least τ (the gradient of ``log |D|``).
        branches: ``"serial"``, or ``"parallel"``: two processes with the same batch, of which the first computes
            ``g₊`` and the second ``g₋``, at the same time, after g in both. The steps are those of ``"serial"``.
        process_group: The two processes of ``"parallel"``; ``None`` for all that there are.

    Reference:
        Wu, Luo, Wunsch, 2024, arXiv 2312.13555, equations 6 and 7; the defaults are theirs for a ResNet-18 on
        CIFAR-10. Line 7 of the paper's algorithm adds the regulariser to the gradient at w; its equation 6 and
        the authors' code add it to SAM's, as here. The two points are along g / ‖g‖, as in the algorithm, and
        not along a Gaussian vector, as in the theorem.
    """

    is_by_shards = True

    rho: NonNegative = 0.1
    alpha: NonNegative = 0.1
    beta: NonNegative = 0.01
    mode: Literal["linear", "log"] = "linear"
    log_policy: Literal["drop", "floor", "abs"] = "drop"
    branches: Literal["serial", "parallel"] = "serial"
    process_group: Any = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._pair: Branches | None = None
        if self.branches == "parallel":
            self._pair = Branches(self.process_group, self.model, self.flat)
            if not isinstance(self.model, DistributedDataParallel):
                self.replicas = ALONE  # the pair has one batch

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """SAM's gradient and the two terms of the regulariser, sorted by gradient."""
        displacement = unit(self.perturbed(gradients), times=self.rho)
        if self._pair is not None:
            return self._share(self._pair, gradients, gradients_at, displacement)
        plus = gradients_at(displacement)
        minus = gradients_at(displacement.neg_())  # from w again, so that no rounding adds up
        alpha, beta = self._coefficients(self.losses)
        direction = plus.mul_(1 + alpha + beta).sub_(gradients.mul_(2 * alpha))
        return direction.add_(minus.mul_(alpha - beta))

    def _share(
        self, pair: Branches, gradients: Tensor, gradients_at: GradientsAt, displacement: Tensor
    ) -> Tensor:
        """The direction, of which this process computes the part that needs one of the two gradients."""
        is_first = pair.group.rank == 0
        own = gradients_at(displacement if is_first else displacement.neg_())
        if self.mode == "log":
            pair.meet()
        alpha, beta = self._coefficients(self.losses)
        if is_first:
            own.mul_(1 + alpha + beta).sub_(gradients.mul_(2 * alpha))
        else:
            own.mul_(alpha - beta)
        pair.meet(own)
        return own

    def _prepare(self, gradients_at: GradientsAt) -> Tensor | None:
        if self._pair is None or not self.is_active:
            return super()._prepare(gradients_at)
        if self.policy is not None:
            raise UsageError(
                "branches='parallel' shares the gradients of every step, and a policy leaves some out; set "
                "policy=None, or branches='serial'"
            )
        meetings = [False, True] if self.mode == "log" else [True]
        with self._pair.step(gradients_at, self.weights, meetings=meetings):
            return super()._prepare(gradients_at)

    def _coefficients(self, losses: list[Tensor]) -> tuple[float, float] | tuple[Tensor, Tensor]:
        """α and β of this step: divided by D₂ and D₁ in mode ``"log"``."""
        if self.mode == "linear":
            return self.alpha, self.beta
        device = self.flat.device
        means = torch.stack(losses).to(device, exact_dtype(device))
        replicas = self.replicas  # each has the losses of its part of the batch, and all need one direction
        replicas.add([means])
        here, up, down = means.div_(replicas.world)
        # Below this a second difference of float32 losses is rounding.
        floor = 1e-6 * here.abs().clamp_(min=1.0)
        return (
            self.alpha * self._reciprocal(up + down - 2 * here, floor),
            self.beta * self._reciprocal(up - down, floor),
        )

    def _reciprocal(self, difference: Tensor, floor: Tensor) -> Tensor:
        least = torch.maximum(difference, floor)
        if self.log_policy == "drop":
            return torch.where(difference > floor, 1 / least, 0.0)
        if self.log_policy == "floor":
            return 1 / least
        return 1 / torch.where(difference < 0, torch.minimum(difference, -floor), least)
