"""The moving average of a network's weights along a run: it is evaluated, and training does not see it."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """``v ← d v + (1 − d) w`` after each step, with ``d = min(decay, (1 + t)/(10 + t))`` at step t.

    The lower decay of the first steps lets go of the initial weights. Buffers of floating point, such as
    batch-norm statistics, are averaged too; the others are the latest ones.

    Args:
        model: Where the average starts.
        decay: Of what was there before, in (0, 1).

    Reference:
        Polyak and Juditsky 1992 (averaging); the growing decay is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, 1 - decay)
            else:
                self.values[name].copy_(tensor)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over an average of the same network."""
        for name, tensor in self.values.items():
            tensor.copy_(values[name])

    def network(self, model: nn.Module) -> nn.Module:
        """A copy of the network with the averaged weights."""
        averaged = copy.deepcopy(model)
        averaged.load_state_dict(self.values)
        return averaged
