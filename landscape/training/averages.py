"""Networks with averaged weights, which are evaluated and saved in place of the one that is trained."""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from landscape.optim import SharpnessAware


class MovingAverage:
    """``v ← d v + (1 − d) w`` after each step, with ``d = min(decay, (1 + t)/(10 + t))`` at step t.

    The lower decay of the first steps forgets the initial weights. Floating-point buffers, such as batch-norm
    statistics, are averaged too; all other buffers are copied.

    Reference:
        Polyak and Juditsky 1992 (averaging); the growing decay is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Adds the weights after ``step`` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.values[name].lerp_(tensor, 1 - decay)
            else:
                self.values[name].copy_(tensor)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Copies an average of the same network."""
        for name, tensor in self.values.items():
            tensor.copy_(values[name])

    def network(self, model: nn.Module) -> nn.Module:
        """A copy of the network with the averaged weights."""
        averaged = copy.deepcopy(model)
        averaged.load_state_dict(self.values)
        return averaged


def averaged_network(
    model: nn.Module, optimizer: SharpnessAware, inputs: Iterable[Tensor]
) -> nn.Module | None:
    """A copy of the network with the weights that an optimizer such as SWA has averaged; ``None`` without such.

    The batch-norm statistics of the copy are computed from ``inputs``, batch by batch.
    """
    average = optimizer.evaluation_weights()
    if average is None:
        return None
    averaged = copy.deepcopy(model)
    # The optimizer's order of parameters need not be the model's, so each is matched with its copy by identity.
    copies = {id(p): twin for p, twin in zip(model.parameters(), averaged.parameters(), strict=True)}
    with torch.no_grad():
        for parameter, values in zip(optimizer.flat.parameters, optimizer.flat.split(average), strict=True):
            copies[id(parameter)].copy_(values)
    update_bn(inputs, averaged)
    return averaged
