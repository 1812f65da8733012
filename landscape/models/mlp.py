"""The multilayer perceptron, whose Hessian can be written down."""

import itertools
import math
from typing import Literal

from torch import Tensor, nn

from landscape.errors import UsageError

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
_NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
DEEPEST = 10_000
"""Layers: a checkpoint of unknown origin may name any number."""


class MLP(nn.Module):
    """Fully connected layers with an activation between them, on flattened inputs.

    Args:
        width: Units of each hidden layer.
        depth: Hidden layers; 0 is softmax regression.
        activation: ``relu``, or the smooth ``tanh`` and ``gelu``.
        norm: ``batch`` or ``layer`` normalisation before each activation, or ``none``.
        classes: Outputs.
        input_shape: The shape of one input, which is flattened.

    Raises:
        UsageError: A width below 1, a depth below 0 or above :data:`DEEPEST`.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        depth: int = 2,
        activation: Literal["relu", "tanh", "gelu"] = "relu",
        norm: Literal["none", "batch", "layer"] = "none",
        classes: int = 10,
        input_shape: tuple[int, ...] = (3, 32, 32),
    ) -> None:
        super().__init__()
        if width < 1 or depth < 0:
            raise UsageError(f"mlp: width={width} must be at least 1 and depth={depth} at least 0")
        if depth > DEEPEST:
            raise UsageError(f"mlp: depth={depth} is more than {DEEPEST:,}")
        units = [math.prod(input_shape), *[width] * depth, classes]
        layers: list[nn.Module] = [nn.Flatten()]
        for position, (fan_in, fan_out) in enumerate(itertools.pairwise(units)):
            if position and norm != "none":
                layers.append(_NORMS[norm](fan_in))
            if position:
                layers.append(_ACTIVATIONS[activation]())
            layers.append(nn.Linear(fan_in, fan_out))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, classes)`` of inputs ``(B, …)``."""
        scores: Tensor = self.layers(inputs)
        return scores
