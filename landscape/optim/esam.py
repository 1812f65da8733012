"""ESAM: SAM on a random part of the weights and the examples whose loss rises most."""

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.registry.bounds import NonNegative, PositiveShare


class ESAM(SharpnessAware):
    """Efficient SAM: ``d = ∇L_S(w + ε)`` with ``ε = (ρ/β) m⊙g / ‖m⊙g‖``. (4 + 3γ)/3 gradients a step.

    Stochastic weight perturbation: m keeps each parameter tensor with probability β, so ``‖ε‖ = ρ/β`` whatever
    is kept. Sharpness-sensitive data selection: S are the ``max(1, ⌊γB⌋)`` examples of the batch whose loss
    rises most from w to w + ε; selecting them takes a forward pass, and a
    :class:`~landscape.optim.BatchClosure`. With γ = 1 all are used without that pass, and β = γ = 1 is SAM.

    Args:
        rho: Radius ρ ≥ 0. 0.05 for a ResNet-18, 0.1 for a wide ResNet, 0.2 for a PyramidNet.
        beta: Probability β in (0, 1] that a tensor is perturbed. 0.6 for a ResNet-18, 0.5 for the others.
        gamma: Share γ in (0, 1] of the examples that are differentiated at w + ε.

    Reference:
        Du et al., 2022, arXiv 2110.03141, algorithm 1; mask, norm and defaults are those of the authors' code
        (unverified: the granularity of the mask in the paper). That code takes one example less, none where
        losses tie, draws the mask from Python's generator, and saves a part of pass 1 by not differentiating
        the tensors that are not kept, which is not done here. Dropout masks of S differ from those of B: they
        are drawn for another number of examples.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    beta: PositiveShare = 0.6
    gamma: PositiveShare = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_batch = self.gamma < 1

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε of the examples that were selected."""
        displacement = self.displacement(self.perturbed(gradients))
        if self.gamma == 1:
            return gradients_at(displacement)
        batch = gradients_at.batch
        assert batch.last is not None
        here = batch.last.losses
        rise = gradients_at.forward(displacement).losses - here
        count = max(1, int(self.gamma * len(batch)))
        return gradients_at(displacement, closure=batch.part(rise.topk(count).indices))

    def displacement(self, gradients: Tensor) -> Tensor:
        """ε of a gradient, both ``(n,)``, along the tensors that are kept."""
        # The norm is that of the kept tensors, so the others are zeroed before it.
        for view, keep in zip(self.flat.split(gradients), self.kept(), strict=True):
            if not keep:
                view.zero_()
        return unit(gradients, times=self.rho / self.beta, out=gradients)

    def kept(self) -> list[bool]:
        """Whether each parameter tensor is perturbed in this step."""
        return [self.draws.chance(number) < self.beta for number in range(len(self.flat.parameters))]
