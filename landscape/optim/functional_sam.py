"""Functional-SAM: SAM that moves the network's outputs and not the slope of the loss in them."""

from torch import Tensor

from landscape.optim.batch_closure import Evaluation
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative


class FunctionalSAM(SharpnessAware):
    """Functional-SAM: ``d = J(w + ε)ᵀ ∇_F L(w)`` with ``ε = ρ g / ‖g‖``. Two gradients a step.

    F are the outputs of the network, J their derivative in the weights. SAM's gradient is ``J(w + ε)ᵀ ∇_F L(w + ε)``,
    whose second factor also lowers the sharpness by the size of the logits alone; here it stays as it is at w.

    Needs a :class:`~landscape.optim.BatchClosure` whose loss is one of outputs and targets.

    Args:
        rho: Radius ρ ≥ 0.

    Reference:
        Singh, Mobahi, Agarwala, Dauphin, 2025, arXiv 2502.02407 (unverified: read in a third party's statement, as the
        authors have published no code; unverified: the default ρ, which is SAM's). The preconditioned ε that they
        combine it with is left out.
    """

    is_by_shards = True
    needs_batch = True

    rho: NonNegative = 0.05

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε of the outputs, weighted with the slope of the loss at w."""
        batch = gradients_at.batch
        slopes = batch.slopes(batch.first_outputs) if batch.counted else None

        def term(evaluation: Evaluation) -> Tensor:
            if slopes is None:  # the example of a process without one does not count
                return evaluation.losses.mean()
            products = (slopes * evaluation.outputs).flatten(1).sum(1)
            return (products - evaluation.losses).mean()  # in place of the loss, and not beside it

        displacement = unit(self.perturbed(gradients), times=self.rho)
        return gradients_at(displacement, closure=batch.plus(term))
