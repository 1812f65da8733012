"""Pictures changed at random before a step, as a function of a seed: a resumed run sees the same ones."""

from typing import Literal

import torch
from torch import Tensor

from landscape.data import Data
from landscape.data.examples import Pixels
from landscape.errors import UsageError
from landscape.isolation import private_randomness

Augmentation = Literal["none", "basic", "cutout", "autoaugment"]


def require_pictures(kind: Augmentation, data: Data) -> None:
    """Refuse an augmentation that the training set has no pictures for.

    Raises:
        UsageError: The inputs are not pictures, or AutoAugment would have no 8-bit pixels.
    """
    if kind == "none":
        return
    if data.input_shape is None or len(data.input_shape) != 3:
        raise UsageError(
            f"augment={kind} changes pictures, and {data.name} has inputs of shape {data.input_shape}; "
            f"leave it out"
        )
    if kind == "autoaugment" and getattr(data.train, "pixels", None) is None:
        raise UsageError(
            f"augment=autoaugment needs 8-bit pixels, which {data.name} has not; take augment=cutout or basic"
        )


def augmented(inputs: Tensor, *, kind: Augmentation, pixels: Pixels | None, seed: int) -> Tensor:
    """Pictures ``(B, channels, height, width)``, each changed in its own way; the global generators are kept.

    ``basic`` pads by an eighth of the side, crops at random and mirrors half of them; ``cutout`` also blanks a
    square of half the side, part of which may lie outside; ``autoaugment`` is ``basic`` and the learned policy
    for CIFAR-10, from 64 pixels on that for ImageNet.

    Args:
        inputs: As the network takes them.
        kind: What to do.
        pixels: How ``inputs`` were made of 8-bit pixels, so that the padding is black; ``None`` where they
            were not: the padding is 0.
        seed: Decides everything random.

    Reference:
        DeVries and Taylor 2017, arXiv 1708.04552 (cutout); Cubuk et al. 2019, arXiv 1805.09501 (AutoAugment).
    """
    if kind == "none":
        return inputs
    from torchvision.transforms import v2

    side = inputs.shape[-1]
    steps: list[torch.nn.Module] = [
        v2.RandomCrop(list(inputs.shape[-2:]), padding=max(1, side // 8)),
        v2.RandomHorizontalFlip(),
    ]
    if kind == "autoaugment":
        policy = v2.AutoAugmentPolicy.CIFAR10 if side < 64 else v2.AutoAugmentPolicy.IMAGENET
        steps.append(v2.AutoAugment(policy))
    change = v2.Compose(steps)
    with private_randomness(seed=seed):
        pictures = inputs if pixels is None else pixels.restored(inputs)
        changed = torch.stack([change(picture) for picture in pictures])
        outputs = changed if pixels is None else pixels.normalised(changed)
        return _cut_out(outputs, side=side // 2) if kind == "cutout" else outputs


def _cut_out(inputs: Tensor, *, side: int) -> Tensor:
    """The pictures with a square of zeros around a random pixel of each."""
    count, _, height, width = inputs.shape
    covered = []
    for length in (height, width):
        start = torch.randint(length, (count, 1)) - side // 2
        at = torch.arange(length)
        covered.append((at >= start) & (at < start + side))
    hole = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    return inputs.masked_fill(hole, 0.0)
