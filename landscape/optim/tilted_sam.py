"""Tilted SAM: the gradients at random places nearby, weighted by how high their losses are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, length, unit
from landscape.optim.vector import SMALL
from landscape.reductions import exact_dtype
from landscape.registry.bounds import NonNegative, PositiveInt


class TiltedSAM(SharpnessAware):
    """Tilted SAM: ``d = Σⱼ pⱼ ∇L(w + εⱼ)`` with ``pⱼ ∝ exp(t L(w + εⱼ))``. Two gradients for each of s places.

    A place is a random δⱼ and a step of ascent from there, ``εⱼ = δⱼ + ρ u(∇L(w + δⱼ))``, u(x) being x / ‖x‖. d
    estimates the gradient of ``(1/t) log E exp(t L(w + ε))``: the mean over a neighbourhood for t = 0, the worst place
    for t → ∞. No gradient is that at w, so the loss of a step is L(w + δ₁).

    Args:
        model: The network; needed if it has batch norm, whose running statistics are then those at w + δ₁.
        rho: Length ρ ≥ 0 of the ascent. Parameters of radius zero get no δ either.
        samples: Places s ≥ 1.
        tilt: t ≥ 0; the authors chose among 0, 1, 5, 20 and 100.
        noise: δ is a standard normal vector, shortened to this length ≥ 0; at 0, with one place, the rule is SAM's.

    Reference:
        Li, Zhou, Bilmes, 2025, arXiv 2410.22656; rule and defaults are those of the authors' code with
        ``sampling=random1``, one step in place of the paper's Hamiltonian sampling. There batch norm sees pass 1
        of every place.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    samples: PositiveInt = 3
    tilt: NonNegative = 1.0
    noise: NonNegative = 1.0

    def first_displacement(self) -> Tensor:
        """δ₁."""
        self._others = self.displacements()
        self._first = next(self._others)
        return self._first

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradients at the places, weighted with the exponentials of their losses."""
        found = [self._climbed(self._first, gradients, gradients_at)]
        for displacement in self._others:
            found.append(self._climbed(displacement, gradients_at(displacement), gradients_at))
        if self.samples == 1:
            return found[0]
        device = self.flat.device
        losses = torch.stack(self.losses[1::2]).to(device, exact_dtype(device))
        replicas = self.replicas  # each has the losses of its part of the batch, and all need one direction
        replicas.add([losses])
        weights = torch.softmax(losses.mul_(self.tilt / replicas.world), dim=0).to(gradients.dtype)
        return (torch.stack(found, dim=1) * weights).sum(
            dim=1
        )  # not @, which autocast would compute in half precision

    def displacements(self) -> Iterator[Tensor]:
        """The δ ``(n,)`` of this step, one after the other."""
        # A group of radius zero is not displaced.
        moved = self.spread([float(self.radius(group) > 0) for group in self.param_groups])
        for normal in self.flat.drawn_one_by_one(self.draws.normals, self.samples, like=self.weights):
            vector = self.perturbed(normal * moved)
            yield vector.mul_((self.noise / (length(vector) + SMALL)).clamp(max=1.0))

    def _climbed(self, displacement: Tensor, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return gradients_at(displacement + unit(self.perturbed(gradients), times=self.rho))
