"""Stable-SAM: SAM's direction at the length of the plain gradient."""

import torch
from torch import Tensor

from landscape.optim.sam import SAM
from landscape.optim.sharpness_aware import GradientsAt, length


class StableSAM(SAM):
    """SAM with renormalised gradients: ``d = (‖g‖ / ‖g_p‖) g_p``. Two gradients a step.

    ``g_p = ∇L(w + ε)`` with ``ε = ρ g / ‖g‖``. Near saddle points, where ``g_p`` is much longer than g, it
    keeps the step as small as that of the base. Not to be confused with sparse SAM, SSAM.

    Reference:
        Tan et al., 2024, arXiv 2401.07250. unverified: the rule is known from re-implementations, not from the
        authors' text or code. Where ``g_p`` is zero, so is d.
    """

    is_by_shards = True

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε, at the length of g."""
        clean = length(gradients)
        perturbed = super().direction(gradients, gradients_at)
        there = length(perturbed)
        return perturbed.mul_(torch.where(there > 0, clean / there, 0.0))
