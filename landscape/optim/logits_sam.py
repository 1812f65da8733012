"""logits-SAM: SAM that displaces the weights of the output layer only."""

from dataclasses import field

from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.sharpness_aware import GradientsAt, SharpnessAware
from landscape.registry.bounds import NonNegative


class LogitsSAM(SharpnessAware):
    """logits-SAM: ``d = ∇L(w + ε)`` with ``ε = ρ m⊙g / ‖m⊙g‖``, where m is one on the output layer's weights.

    m is zero elsewhere, also on the bias of that layer; the whole network descends along d. Two gradients a step: that
    the layers before the last need not be passed again, which is the paper's saving, is not made use of.

    Args:
        model: The network, in which the layer is looked for; always needed.
        rho: Radius ρ ≥ 0. 1e-3 for language models of 7 billion weights.
        head: Name of the output layer in the network; ``None`` for its output embeddings where it has such, as language
            models of Transformers do, and for its last linear layer otherwise.

    Reference:
        Luo, Deng, Do, Harandi, Phung et al., 2026, arXiv 2603.18258, for preference optimisation, whose loss is here
        that of the closure; the rule is that of the authors' code, and the default ρ its own.
    """

    is_by_shards = True

    rho: NonNegative = 0.05
    head: str | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._head = self._weight()
        if not any(self._head is p for p in self.flat.parameters):
            raise UsageError(
                "LogitsSAM displaces the weights of the output layer, and the base optimizer does not train them; give "
                "it all parameters of the network, or name another layer with head=…"
            )

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient at w + ε."""
        left_out = self.flat.where(self._is_left_out)
        return gradients_at.along(self.perturbed(gradients).masked_fill(left_out, 0.0), self.rho)

    def _is_left_out(self, parameter: Tensor) -> bool:
        return parameter is not self._head

    def _weight(self) -> Tensor:
        """The weights of the output layer."""
        if self.model is None:
            raise UsageError("LogitsSAM needs the network to know its output layer; pass model=model")
        layers = dict(self.model.named_modules())
        layer: object = layers.get(self.head or "")
        if self.head is None:
            linear = [module for module in layers.values() if isinstance(module, nn.Linear)]
            embeddings = [
                m.get_output_embeddings() for m in layers.values() if hasattr(m, "get_output_embeddings")
            ]
            layer = next(
                (module for module in embeddings if module is not None), linear[-1] if linear else None
            )
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor):
            what = "no linear layer" if self.head is None else f"no layer {self.head!r} with weights"
            raise UsageError(
                f"{type(self.model).__name__}(…) has {what}; name its output layer with head=…, as named_modules() does"
            )
        return weight
