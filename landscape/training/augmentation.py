"""Random changes of images before a step, as a function of a seed, so that a resumed run sees the same images."""

import torch
from torch import Tensor

from landscape.data import Data
from landscape.data.pixels import Pixels
from landscape.errors import UsageError
from landscape.isolation import private_randomness
from landscape.training.recipe import Augmentation


def require_pictures(kind: Augmentation, data: Data) -> None:
    """Raises :class:`UsageError` if the training set has no images, or no 8-bit pixels for AutoAugment."""
    if kind == "none":
        return
    if data.input_shape is None or len(data.input_shape) != 3:
        raise UsageError(
            f"augment={kind} changes images, but {data.name} has inputs of shape {data.input_shape}; leave it out"
        )
    if kind == "autoaugment" and getattr(data.train, "pixels", None) is None:
        raise UsageError(
            f"augment=autoaugment needs 8-bit pixels, which {data.name} does not have; use augment=cutout or basic"
        )


def augmented(inputs: Tensor, *, kind: Augmentation, pixels: Pixels | None, seed: int) -> Tensor:
    """Images ``(B, channels, height, width)``, each changed on its own; the global generators are restored.

    ``basic`` pads by an eighth of the side, crops at random and flips half of the images; ``cutout`` also blanks
    a square of half the side, part of which may lie outside; ``autoaugment`` is ``basic`` and the learned policy
    of CIFAR-10, or from a side of 64 pixels that of ImageNet.

    ``pixels`` says how ``inputs`` were made from 8-bit pixels, so that the padding is black; ``None`` pads with 0.

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
    # torchvision's transforms draw from the global generator and take none of their own.
    with private_randomness(seed=seed):
        images = inputs if pixels is None else pixels.restored(inputs)
        # One by one, because v2 applies a single draw to a whole batch.
        changed = torch.stack([change(image) for image in images])
        outputs = changed if pixels is None else pixels.normalised(changed)
        return _cut_out(outputs, side=side // 2) if kind == "cutout" else outputs


def _cut_out(inputs: Tensor, *, side: int) -> Tensor:
    """The images with a square of zeros around a random pixel of each."""
    count, _, height, width = inputs.shape
    covered = []
    for length in (height, width):
        start = torch.randint(length, (count, 1), device="cpu") - side // 2
        at = torch.arange(length, device="cpu")
        covered.append((at >= start) & (at < start + side))
    hole = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    return inputs.masked_fill(hole, 0.0)
