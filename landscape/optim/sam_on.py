"""SAM-ON: SAM that displaces the normalisation layers only."""

from typing import Literal

from torch import Tensor

from landscape.errors import UsageError
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware, unit
from landscape.parameters import normalisation_parameters
from landscape.registry.bounds import NonNegative


class SAMON(SharpnessAware):
    """SAM-ON: ``d = ∇L(w + ε)`` with ``ε = ρ m⊙g / ‖m⊙g‖``, where m is one on normalisation layers, zero elsewhere.

    Both the gains and the shifts of these layers are displaced, and the norm is over them only. Two gradients a step.

    Args:
        model: The network, which identifies its normalisation layers; always needed.
        rho: Radius ρ ≥ 0. Far larger than for SAM, because few numbers are displaced: 10 with ``adaptive="asam"``
            for a WRN-28-10 on CIFAR-100.
        layers: ``"normalisation"``; ``"others"`` for the complement, the paper's counter-check.
        adaptive: ``"none"`` for SAM's ε; ``"asam"`` for ``ε = ρ w²⊙m⊙g / ‖w⊙m⊙g‖``.

    Reference:
        Müller, Vlaar, Rolnick, Hein, 2023, arXiv 2306.04226. The authors' code finds the layers by "norm" or "bn" in
        the parameters' names, and displaces nothing where there are none; here the type of the module decides.
        unverified: the default ρ is SAM's; the authors' command has ρ = 10 with elementwise ASAM.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    layers: Literal["normalisation", "others"] = "normalisation"
    adaptive: Literal["none", "asam"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise UsageError("SAMON needs the network to know its normalisation layers; pass model=model")
        self._normalisations = normalisation_parameters(self.model)
        if all(self._is_left_out(p) for p in self.flat.parameters):
            raise UsageError(
                f"layers={self.layers}: {type(self.model).__name__}(…) has no such free parameters, so SAMON would "
                "displace nothing; use SAM, or a model with normalisation layers such as batch norm or layer norm"
            )

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        selected = self.perturbed(gradients).masked_fill(self.flat.where(self._is_left_out), 0.0)
        if self.adaptive == "none":
            return gradients_at.along(selected, self.rho)
        size = self.weights.abs()
        return gradients_at(unit(selected.mul_(size), times=self.rho).mul_(size))

    def _is_left_out(self, parameter: Tensor) -> bool:
        is_normalisation = any(parameter is p for p in self._normalisations)  # `in` compares elements
        return is_normalisation is not (self.layers == "normalisation")
