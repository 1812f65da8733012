"""The statistics that batch normalisation uses while a loss surface is measured."""

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # what all batch and instance norms derive from

from landscape.errors import InputError
from landscape.processes.group import Group
from landscape.reductions import exact

BatchNorm = Literal["auto", "stored", "batch", "recalibrate"]
MODES: tuple[BatchNorm, ...] = get_args(BatchNorm)


def set_batch_norm(model: nn.Module, mode: BatchNorm) -> None:
    """Makes the layers use the statistics of each batch, or the stored ones, which never change."""
    for layer in model.modules():
        if isinstance(layer, _NormBase):
            layer.train(mode == "batch")
            if mode == "batch":
                layer.track_running_stats = False


def stored_layers(model: nn.Module) -> dict[str, _NormBase]:
    """The layers that store statistics of the data, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


Uses = dict[_NormBase, int]
"""How often each layer has been used."""


def recalibrate(model: nn.Module, passes: Iterable[tuple[int, Callable[[], object]]]) -> tuple[int, Uses]:
    """Stores the average of the batches' means and variances; returns the number of examples and the uses of layers.

    The numbers are those of ``torch.optim.swa_utils.update_bn``: every batch counts the same, whatever its size, and a
    layer that one forward pass uses several times averages over all its uses. Dropout stays off.

    Args:
        model: A copy of the user's network; its other layers keep their mode.
        passes: For each batch its size and a function that passes it through the network.

    Raises:
        InputError: A batch has a single value a channel, which has no variance.
    """
    layers = list(stored_layers(model).values())
    uses = dict.fromkeys(layers, 0)
    if not layers:
        return 0, uses
    momenta = [layer.momentum for layer in layers]
    seen = size = 0

    def weight(layer: nn.Module, inputs: object) -> None:
        assert isinstance(layer, _NormBase)
        uses[layer] += 1
        layer.momentum = 1 / uses[layer]  # so that torch's moving average becomes the mean

    hooks = [layer.register_forward_pre_hook(weight) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    try:
        for size, forward in passes:
            seen += size
            forward()
    except ValueError as failure:
        if "more than 1 value per channel" not in str(failure):
            raise
        raise InputError(
            f"batch norm cannot be recalibrated on a batch of {size}: it has no variance; choose a batch size "
            "(-b) that leaves no single example over"
        ) from failure
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
    return seen, uses


def pool(uses: Uses, group: Group) -> None:
    """Replaces the averages of :func:`recalibrate` in every process by those over all uses in all processes."""
    if group.alone:
        return
    counts = torch.tensor(list(uses.values()), dtype=torch.float64, device="cpu")
    buffers = [
        (buffer, uses[layer], k)
        for k, layer in enumerate(uses)
        for buffer in (layer.running_mean, layer.running_var)
        if buffer is not None
    ]
    sums = [exact(buffer) * count for buffer, count, _ in buffers]
    group.add([counts, *sums])
    everywhere = counts.tolist()
    for (buffer, _, k), total in zip(buffers, sums, strict=True):
        if everywhere[k]:  # the average of a layer that is never used stays as it is
            buffer.copy_(total / everywhere[k])
