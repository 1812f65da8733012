"""Which statistics batch normalisation uses while a loss surface is measured."""

from collections.abc import Callable, Iterable
from typing import Literal

from torch import nn

from landscape.errors import InputError

BatchNorm = Literal["stored", "batch", "recalibrate"]
MODES: tuple[BatchNorm, ...] = ("stored", "batch", "recalibrate")


def batch_norm_layers(model: nn.Module) -> list[nn.modules.batchnorm._NormBase]:
    """The layers that normalise with statistics of the data."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]


def set_batch_norm(model: nn.Module, mode: BatchNorm) -> None:
    """Makes the layers use the statistics of each batch, or those that are stored; the latter never change."""
    for layer in batch_norm_layers(model):
        layer.train(mode == "batch")
        if mode == "batch":
            layer.track_running_stats = False


def recalibrate(model: nn.Module, passes: Iterable[tuple[int, Callable[[], object]]]) -> int:
    """Stores the average of the batches' means and variances, each batch weighted by its size.

    Args:
        model: A copy of the user's network; its other layers keep their mode.
        passes: The size of each batch, and what passes it through the network.

    Returns:
        How many examples were seen; 0 where no layer stores statistics.

    Raises:
        InputError: A batch has a single value a channel, which has no variance.
    """
    layers = [layer for layer in batch_norm_layers(model) if layer.running_mean is not None]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    seen = 0
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    try:
        for size, forward in passes:
            seen += size
            for layer in layers:
                layer.momentum = size / seen
            try:
                forward()
            except ValueError as failure:
                if "more than 1 value per channel" not in str(failure):
                    raise
                raise InputError(
                    f"batch norm cannot be recalibrated on a batch of {size}: it has no variance; choose a batch size "
                    "(-b) that leaves no single example over"
                ) from failure
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
    return seen
