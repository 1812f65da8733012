"""The network with the weights that an optimizer such as SWA has averaged."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from landscape.optim import SharpnessAware


def averaged_network(
    model: nn.Module, optimizer: SharpnessAware, examples: Iterable[Tensor]
) -> nn.Module | None:
    """A copy with the averaged weights and batch-norm statistics of its own; ``None`` where there are none.

    Args:
        model: The network that the optimizer trains.
        optimizer: It.
        examples: Inputs, batch by batch, that the statistics are taken of.
    """
    average = optimizer.evaluation_weights()
    if average is None:
        return None
    averaged = copy.deepcopy(model)
    twins = {id(p): twin for p, twin in zip(model.parameters(), averaged.parameters(), strict=True)}
    with torch.no_grad():
        for parameter, values in zip(optimizer.flat.parameters, optimizer.flat.split(average), strict=True):
            twins[id(parameter)].copy_(values)
    update_bn(examples, averaged)
    return averaged
