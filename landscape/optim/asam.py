"""ASAM: SAM in a ball that is scaled with the weights, so that rescaling a network changes nothing."""

from typing import Literal

import torch
from torch import Tensor, nn

from landscape.optim.bounds import one_of, within
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.vector import unit
from landscape.parameters import parameter_roles

AsamOn = Literal["weight", "matrices", "all"]


class ASAM(SharpnessAware):
    """Adaptive SAM: ``d = ∇L(w + ε)`` with ``ε = ρ T² g / ‖T g‖``, the worst ε with ``‖T⁻¹ε‖ ≤ ρ``.

    T is diagonal: ``|wᵢ| + η`` on the parameters that are scaled, one on the others. Two gradients a step.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm, and to tell gains of normalisations from biases.
        rho: Radius ρ ≥ 0; about ten times that of SAM. 0.5 on CIFAR-10, 1.0 on CIFAR-100.
        eta: η ≥ 0. At 0, a weight that is exactly zero is never displaced.
        asam_on: What is scaled: ``"matrices"`` for tensors of two and more dimensions; ``"weight"`` for these
            and the gains of normalisations, which are known by ``model`` only; ``"all"`` for every parameter.
            The best ρ differs between them.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Kwon, Kim, Park, Choi, 2021, arXiv 2102.11600, algorithm 1. The authors' code scales what has "weight"
        in its name; here the role of the tensor decides, so that a renamed parameter is treated alike.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float = 0.5,
        eta: float = 0.01,
        asam_on: AsamOn = "weight",
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, rho=rho, max_grad_norm=max_grad_norm)
        self.eta = within("eta", eta, 0.0)
        self.asam_on = one_of("asam_on", asam_on, ("weight", "matrices", "all"))
        roles = {} if model is None else parameter_roles(model)
        self._gains = {key for key, role in roles.items() if role == "scale"}

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        t = self.scale()
        scaled = self.perturbed(gradients).mul_(t)
        return gradients_at(unit(scaled, times=self.rho, out=scaled).mul_(t))

    def scale(self) -> Tensor:
        """The diagonal of T at the weights, shape ``(n,)``."""
        t = self.weights.abs().add_(self.eta)
        return t if self.asam_on == "all" else t.masked_fill_(self.flat.where(self._is_left_out), 1.0)

    def _is_left_out(self, parameter: Tensor) -> bool:
        return parameter.ndim < 2 and not (self.asam_on == "weight" and id(parameter) in self._gains)
