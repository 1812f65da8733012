"""Wide residual networks: few blocks with many channels, and batch normalisation before each convolution."""

import itertools

from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.models.cifar_resnet import convolution, initialise_convolutions
from landscape.models.cnn import channels_of

LARGEST = 1000
"""The largest depth and width: a checkpoint of unknown origin may name any."""


class WideResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels times ``width``, each of (``depth`` − 4)/6 blocks, without dropout.

    The first block of a stage has a 1×1 convolution as its shortcut where the number of channels changes, which reads
    the inputs after normalisation and ReLU. The second and third stage halve the resolution. Convolutions are
    initialised by their fan-out.

    Args:
        depth: Convolutions with the shortcuts' and without the linear layer: 6n + 4.
        width: k, the factor of the channels.
        classes: Outputs.
        input_shape: ``(channels, height, width)``.

    Raises:
        UsageError: A depth that is not 6n + 4, or a width below 1.
        InputError: Inputs that are not images.

    Reference:
        Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 1.
    """

    def __init__(
        self,
        *,
        depth: int = 28,
        width: int = 10,
        classes: int = 10,
        input_shape: tuple[int, ...] = (3, 32, 32),
    ) -> None:
        super().__init__()
        if not 10 <= depth <= LARGEST or (depth - 4) % 6:
            raise UsageError(
                f"wrn: depth={depth} must be 6n + 4 from 10 to {LARGEST:,}, such as 16, 22, 28 or 40"
            )
        if not 1 <= width <= LARGEST:
            raise UsageError(f"wrn: width={width} must be from 1 to {LARGEST:,}")
        self.stem = convolution(channels_of(input_shape, "wrn"), 16)
        stages: list[nn.Module] = []
        for stage, (before, after) in enumerate(itertools.pairwise((16, 16 * width, 32 * width, 64 * width))):
            first = PreactivatedBlock(before, after, stride=1 if stage == 0 else 2)
            rest = (PreactivatedBlock(after, after) for _ in range((depth - 4) // 6 - 1))
            stages.append(nn.Sequential(first, *rest))
        self.stages = nn.Sequential(*stages)
        self.activation = nn.Sequential(nn.BatchNorm2d(64 * width), nn.ReLU())
        self.classifier = nn.Linear(64 * width, classes)
        initialise_convolutions(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, classes)`` of images ``(B, channels, height, width)``."""
        scores: Tensor = self.classifier(self.activation(self.stages(self.stem(inputs))).mean((2, 3)))
        return scores


class PreactivatedBlock(nn.Module):
    """Two 3×3 convolutions, each after batch normalisation and ReLU, added to a shortcut."""

    def __init__(self, fan_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(fan_in), nn.ReLU())
        first, second = convolution(fan_in, width, stride), convolution(width, width)
        self.residual = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), second)
        projects = stride != 1 or fan_in != width
        self.projection = nn.Conv2d(fan_in, width, 1, stride=stride, bias=False) if projects else None

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output, ``width`` channels."""
        active = self.activation(inputs)
        outputs: Tensor = self.residual(active)
        return outputs + (inputs if self.projection is None else self.projection(active))


def wrn28_10(*, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)) -> nn.Module:
    """WRN-28-10, 36,479,194 parameters for 10 classes; see :class:`WideResNet`.

    Reference:
        Zagoruyko and Komodakis 2016, arXiv 1605.07146, section 3 (36.5 M).
    """
    return WideResNet(classes=classes, input_shape=input_shape)
