"""XSAM: the direction towards the highest loss nearby, searched between SAM's displacement and its gradient."""

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length, unit
from landscape.optim.vector import SMALL
from landscape.reductions import exact_dtype
from landscape.registry.bounds import NonNegative, Positive, PositiveInt


class XSAM(SharpnessAware):
    """XSAM: ``d = ‖g_p‖ v(α)``, where v(α) turns from ``v₀ = g / ‖g‖`` at 0 to ``v₁ = g_p / ‖g_p‖`` at 1 and beyond.

    ``g_p = ∇L(w + ρ v₀)``, and ``v(α) = (sin((1 − α)ψ) v₀ + sin(αψ) v₁) / sin ψ`` with ψ the angle between the two;
    α = 1 is SAM. In the first step of every epoch α becomes, of 0, 1/10, … up to ``alpha_max``, the one whose
    ``w + ρ_m v(α)`` has the highest loss on the batch: a forward pass each. Otherwise two gradients a step.

    Needs a :class:`~landscape.optim.BatchClosure`.

    Args:
        rho: Radius ρ ≥ 0.
        rho_max: Distance ρ_m ≥ 0 at which losses are compared.
        alpha_max: The largest α that is compared, > 0.
        steps_per_epoch: Steps ≥ 1 in an epoch; ``landscape train`` sets it.

    Reference:
        "Revisiting sharpness-aware minimization", 2026, arXiv 2603.10048; rule and defaults are those of the authors'
        code with one step of ascent, which decides ties and angles of zero as here: the first of equal losses, and the
        mean of v₀ and v₁. Several steps of ascent are left out.
    """

    is_by_shards = True
    needs_batch = True

    steps_per_epoch: PositiveInt
    rho: NonNegative = 0.15
    rho_max: NonNegative = 0.3
    alpha_max: Positive = 2.0

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The direction of the highest loss, as long as the perturbed gradient."""
        ascent = self.perturbed(gradients)
        perturbed = gradients_at.along(ascent, self.rho)
        last = self.perturbed(perturbed)
        # v₀ and v₁ times the length of g_p, so that α = 1 is g_p bit for bit.
        ends = ascent * (length(last) / length(ascent).clamp(min=SMALL)), last
        psi = 2 * torch.atan2(length(ends[0] - ends[1]), length(ends[0] + ends[1]))
        alpha = self.remembered("alpha")
        if alpha is None or self.attempts % self.steps_per_epoch == 0:
            alpha = self.memory["alpha"] = self.highest(ends, psi, gradients_at)
        turned = _turned(ends, psi, alpha)
        return turned if last is perturbed else turned.add_(perturbed.sub_(last))

    def highest(self, ends: tuple[Tensor, Tensor], psi: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The α with the highest loss at the distance ρ_m, 0-dim."""
        device = self.flat.device
        count = int(10 * self.alpha_max + 1e-9) + 1
        alphas = torch.arange(count, device=device, dtype=exact_dtype(device)) / 10
        moved = self.spread([float(self.radius(group) > 0) for group in self.param_groups])
        losses = []
        for alpha in alphas:
            displacement = unit(_turned(ends, psi, alpha) * moved, times=self.rho_max)
            losses.append(gradients_at.forward(displacement).loss)
        means = torch.stack(losses).to(device, exact_dtype(device))
        self.replicas.add([means])  # each has the losses of its part of the batch, and all need one α
        return means.argmax().to(psi.dtype) / 10


def _turned(ends: tuple[Tensor, Tensor], psi: Tensor, alpha: Tensor) -> Tensor:
    """The vector ``(n,)`` at the share α of the angle between two of one length, on the circle through both."""
    sine = torch.sin(psi)
    is_one = sine < 1e-8
    divisor = torch.where(is_one, 1.0, sine)
    first = torch.where(is_one, 0.5, torch.sin((1 - alpha) * psi) / divisor)
    second = torch.where(is_one, 0.5, torch.sin(alpha * psi) / divisor)
    return ends[0] * first + ends[1] * second
