"""ASAM: SAM in a ball that is scaled with the weights, so that rescaling a network changes nothing."""

from typing import Literal

from torch import Tensor

from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.parameters import parameter_roles
from landscape.registry.bounds import NonNegative


class ASAM(SharpnessAware):
    """Adaptive SAM: ``d = ∇L(w + ε)`` with ``ε = ρ T² g / ‖T g‖``, the worst ε with ``‖T⁻¹ε‖ ≤ ρ``.

    T is diagonal: ``|wᵢ| + η`` on the parameters that are scaled, one on the others. Two gradients a step.

    Args:
        model: The network; needed if it has batch norm, and to distinguish gains of normalisations from biases.
        rho: Radius ρ ≥ 0; about ten times that of SAM. 0.5 on CIFAR-10, 1.0 on CIFAR-100.
        eta: η ≥ 0. At 0, a weight that is exactly zero is never displaced.
        asam_on: The scaled parameters: ``"matrices"`` for tensors of two and more dimensions; ``"weight"`` for
            these and the gains of normalisations, which only ``model`` identifies; ``"all"`` for every
            parameter. The best ρ differs between them.

    Reference:
        Kwon, Kim, Park, Choi, 2021, arXiv 2102.11600, algorithm 1. The authors' code scales parameters with
        "weight" in their names; here the role of the tensor decides, so that a renamed one is treated alike.
    """

    is_by_shards = True

    rho: NonNegative = 0.5
    eta: NonNegative = 0.01
    asam_on: Literal["weight", "matrices", "all"] = "weight"

    def __post_init__(self) -> None:
        super().__post_init__()
        roles = {} if self.model is None else parameter_roles(self.model)
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
