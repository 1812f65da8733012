"""8-bit pixels as the inputs of a network: the normalisations that published checkpoints were trained with."""

import math
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
    """Mean and standard deviation of that name, or written as ``MEAN/STD``: ``0.5/0.25``, ``0.5+0.4+0.4/0.2+0.2+0.2``.

    Raises:
        UsageError: It is neither, or for another number of channels; ``owner`` is the data in the message.
    """
    mean, std = NORMALISATIONS[name] if name in NORMALISATIONS else _typed(name, owner)
    if not {len(mean), len(std)} <= {1, channels}:
        raise UsageError(f"{owner}: normalize={name} is for {len(mean)} channels, not {channels}; use half")
    return mean, std


def moments_note(name: str, mean: Sequence[float], std: Sequence[float]) -> str:
    """The normalisation in words, with the option that changes it."""
    if (tuple(mean), tuple(std)) == NORMALISATIONS["none"]:
        return (
            "pixels from 0 to 1, not normalised; for a network that was trained otherwise add normalize=imagenet "
            "(torchvision, most of timm), half, or MEAN/STD"
        )
    centre, spread = (" ".join(f"{number:g}" for number in part) for part in (mean, std))
    named = f" ({name})" if name in NORMALISATIONS else ""
    return (
        f"pixels from 0 to 1, then normalised by mean {centre}, std {spread}{named}; normalize=… changes it"
    )


def _typed(text: str, owner: str) -> Moments:
    try:
        mean, std = (tuple(map(float, part.split("+"))) for part in text.split("/"))
    except ValueError:
        mean, std = (), ()
    if not mean or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise UsageError(
            f"{owner}: normalize={text} is neither one of {', '.join(NORMALISATIONS)} nor MEAN/STD, such as 0.5/0.25 "
            "or 0.5+0.4+0.4/0.2+0.2+0.2 with a number for each channel"
        )
    return mean, std


class Pixels:
    """The map from ``uint8`` pixels to inputs, ``(pixel/255 − mean)/std`` channel by channel, and its inverse."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        centre, spread = (
            torch.tensor(part, dtype=torch.float64, device="cpu").view(-1, 1, 1) for part in (mean, std)
        )
        self._scale = (1 / (255 * spread)).float()
        self._shift = (centre / spread).float()

    def normalised(self, images: Tensor) -> Tensor:
        """The float32 inputs of ``uint8`` images ``(N, channels, height, width)``."""
        scale, shift = self._on(images.device)
        return images.float().mul_(scale).sub_(shift)

    def restored(self, inputs: Tensor) -> Tensor:
        """The ``uint8`` images of float32 inputs from :meth:`normalised`."""
        scale, shift = self._on(inputs.device)
        return inputs.add(shift).div_(scale).round_().clamp_(0, 255).to(torch.uint8)

    def black(self, like: Tensor) -> Tensor:
        """What a black pixel becomes, ``(channels, 1, 1)`` in the type and on the device of inputs."""
        return (0.0 - self._on(like.device)[1]).to(like.dtype)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._scale.device != device:  # written once a device, so that no step waits for a copy
            self._scale, self._shift = self._scale.to(device), self._shift.to(device)
        return self._scale, self._shift
