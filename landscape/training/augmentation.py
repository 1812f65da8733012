"""Random changes of images before a step, as a function of a seed, so that a resumed run sees the same images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.data import Data
from landscape.data.pixels import Pixels
from landscape.draws import Draws
from landscape.errors import UsageError
from landscape.isolation.randomness import private_randomness
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


def augmented(
    inputs: Tensor, rows: Tensor, *, kind: Augmentation, pixels: Pixels | None, seed: int
) -> Tensor:
    """Images ``(B, channels, height, width)``, each changed on its own, by random numbers of its row and the seed.

    ``basic`` pads by an eighth of the side, crops at random and flips half of the images; ``cutout`` also blanks
    a square of half the side, part of which may lie outside; ``autoaugment`` is ``basic`` and the learned policy
    of CIFAR-10, or from a side of 64 pixels that of ImageNet.

    ``rows`` are the numbers of the examples, ``(B,)`` in int64. ``pixels`` says how ``inputs`` were made from 8-bit
    pixels, so that the padding is black; ``None`` pads with 0.

    Reference:
        DeVries and Taylor 2017, arXiv 1708.04552 (cutout); Cubuk et al. 2019, arXiv 1805.09501 (AutoAugment).
    """
    if kind == "none":
        return inputs
    numbers = rows.to(inputs.device, non_blocking=True)
    like = torch.empty(0, dtype=torch.float32, device=inputs.device)
    top, left, flip, *centre = Draws(seed).uniforms(numbers, 5, like=like).unbind(1)
    outputs = _cropped(inputs, top, left, flip < 0.5, black=None if pixels is None else pixels.black(inputs))
    if kind == "autoaugment":
        assert pixels is not None
        return pixels.normalised(_by_policy(pixels.restored(outputs), rows, seed))
    return _cut_out(outputs, centre) if kind == "cutout" else outputs


def _cropped(inputs: Tensor, top: Tensor, left: Tensor, flip: Tensor, *, black: Tensor | None) -> Tensor:
    """The images shifted by up to an eighth of the side, and some of them mirrored; uniform numbers say which."""
    height, width = inputs.shape[-2:]
    margin = max(1, inputs.shape[-1] // 8)
    down, across = (torch.arange(length, device=inputs.device) for length in (height, width))
    y = down + (top[:, None] * (2 * margin + 1)).long() - margin
    x = (
        torch.where(flip[:, None], across.flip(0), across)
        + (left[:, None] * (2 * margin + 1)).long()
        - margin
    )
    image, channel = (torch.arange(count, device=inputs.device) for count in inputs.shape[:2])
    places = y.clamp(0, height - 1)[:, None, :, None], x.clamp(0, width - 1)[:, None, None, :]
    moved = inputs[image[:, None, None, None], channel[:, None, None], *places]
    inside = ((y >= 0) & (y < height))[:, None, :, None] & ((x >= 0) & (x < width))[:, None, None, :]
    return torch.where(inside, moved, 0.0 if black is None else black)


def _cut_out(inputs: Tensor, centre: Sequence[Tensor]) -> Tensor:
    """The images with a square of zeros of half the width around a random pixel of each."""
    side, covered = inputs.shape[-1] // 2, []
    for length, place in zip(inputs.shape[-2:], centre, strict=True):
        start = (place[:, None] * length).long() - side // 2
        at = torch.arange(length, device=inputs.device)
        covered.append((at >= start) & (at < start + side))
    hole = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    return inputs.masked_fill(hole, 0.0)


def _by_policy(images: Tensor, rows: Tensor, seed: int) -> Tensor:
    """8-bit images, each changed by the learned policy; the global generators are restored."""
    from torchvision.transforms import v2

    policy = v2.AutoAugmentPolicy.CIFAR10 if images.shape[-1] < 64 else v2.AutoAugmentPolicy.IMAGENET
    change, changed = v2.AutoAugment(policy), []
    # torchvision's transforms draw from the global generator and take none of their own.
    with private_randomness():
        for image, row in zip(
            images, rows.tolist(), strict=True
        ):  # v2 applies a single draw to a whole batch
            torch.default_generator.manual_seed(Draws(seed).fold(row).seed)
            changed.append(change(image))
    return torch.stack(changed)
