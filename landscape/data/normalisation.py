"""The means and standard deviations that published checkpoints were trained with, by name."""

from landscape.errors import UsageError

Moments = tuple[tuple[float, ...], tuple[float, ...]]

NORMALISATIONS: dict[str, Moments] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar10-per-image": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
}
"""Of pixels in [0, 1], a value a channel or one for all.

``imagenet``: torchvision and most of timm, and the ResNets of several CIFAR repositories; ``half``: vision
transformers trained from JAX; ``cifar10-per-image``: the mean of the standard deviations of single pictures, which
many CIFAR-10 repositories use for the standard deviation of the set; ``none``: pixels in [0, 1].
"""


def moments(name: str, *, channels: int, owner: str) -> Moments:
    """Mean and standard deviation of that name.

    Args:
        name: One of :data:`NORMALISATIONS`.
        channels: Of the pictures.
        owner: What to call the data in messages.

    Raises:
        UsageError: It is for another number of channels.
    """
    mean, std = NORMALISATIONS[name]
    if len(mean) not in (1, channels):
        raise UsageError(
            f"{owner}: normalize={name} is for {len(mean)} channels, not {channels}; use half or none"
        )
    return mean, std
