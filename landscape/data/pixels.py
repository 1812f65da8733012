"""8-bit pixels as the inputs of a network: the normalisations that published checkpoints were trained with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.errors import UsageError

Moments = tuple[tuple[float, ...], tuple[float, ...]]

NORMALISATIONS: dict[str, Moments] = {
    "imagenet": (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),  # torchvision, most of timm, some CIFAR ResNets
    "half": ((0.5,), (0.5,)),  # vision transformers trained from JAX
    "none": ((0.0,), (1.0,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    # The mean of the standard deviations of single pictures, which many repositories take for that of the set.
    "cifar10-per-image": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
}
"""Mean and standard deviation of pixels in [0, 1], one value for each channel or for all."""


def moments(name: str, *, channels: int, owner: str) -> Moments:
    """Mean and standard deviation of that name; ``owner`` is the data in the message of a :class:`UsageError`."""
    mean, std = NORMALISATIONS[name]
    if len(mean) not in (1, channels):
        raise UsageError(f"{owner}: normalize={name} is for {len(mean)} channels, not {channels}; use half")
    return mean, std


class Pixels:
    """The map from ``uint8`` pixels to inputs, ``(pixel/255 − mean)/std`` channel by channel, and its inverse."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        centre, spread = (torch.tensor(part, dtype=torch.float64).view(-1, 1, 1) for part in (mean, std))
        self._scale = (1 / (255 * spread)).float()
        self._shift = (centre / spread).float()

    def normalised(self, images: Tensor) -> Tensor:
        """The float32 inputs of ``uint8`` images ``(N, channels, height, width)``."""
        return images.float().mul_(self._scale).sub_(self._shift)

    def restored(self, inputs: Tensor) -> Tensor:
        """The ``uint8`` images of float32 inputs from :meth:`normalised`."""
        return inputs.add(self._shift).div_(self._scale).round_().clamp_(0, 255).to(torch.uint8)
