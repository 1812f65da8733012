"""Pyramidal residual networks, whose blocks gain a few channels each instead of doubling them at every stage."""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import UsageError
from landscape.models.cifar_resnet import convolution, initialise_convolutions
from landscape.models.cnn import channels_of

DEEPEST, WIDEST = 1000, 10_000
"""The largest depth and α: a checkpoint of unknown origin may name any."""


class PyramidNet(nn.Module):
    """Three stages of (``depth`` − 2)/6 basic blocks after a 3×3 convolution; block k of N has 16 + αk/N channels.

    The number of channels is rounded, as in the authors' code (the paper's formula rounds down). The second and third
    stage halve the resolution. Convolutions are initialised by their fan-out.

    Args:
        depth: Layers, 6n + 2.
        alpha: α, the channels that are gained in all.
        classes: Outputs.
        input_shape: ``(channels, height, width)``.

    Raises:
        UsageError: A depth that is not 6n + 2, or an α below 1.
        InputError: Inputs that are not images.

    Reference:
        Han, Kim and Kim 2017, arXiv 1610.02915, section 2.1 (additive) and figure 6d (the block).
    """

    def __init__(
        self,
        *,
        depth: int = 110,
        alpha: int = 270,
        classes: int = 10,
        input_shape: tuple[int, ...] = (3, 32, 32),
    ) -> None:
        super().__init__()
        if not 8 <= depth <= DEEPEST or (depth - 2) % 6:
            raise UsageError(
                f"pyramidnet: depth={depth} must be 6n + 2 from 8 to {DEEPEST:,}, such as 20, 56 or 110"
            )
        if not 1 <= alpha <= WIDEST:
            raise UsageError(f"pyramidnet: alpha={alpha} must be from 1 to {WIDEST:,}")
        blocks = (depth - 2) // 2
        widths = [round(16 + alpha * block / blocks) for block in range(blocks + 1)]
        self.stem = nn.Sequential(convolution(channels_of(input_shape, "pyramidnet"), 16), nn.BatchNorm2d(16))
        self.blocks = nn.Sequential(
            *(
                PyramidalBlock(before, after, stride=2 if number in (blocks // 3, 2 * blocks // 3) else 1)
                for number, (before, after) in enumerate(itertools.pairwise(widths))
            )
        )
        self.activation = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.classifier = nn.Linear(widths[-1], classes)
        initialise_convolutions(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, classes)`` of images ``(B, channels, height, width)``."""
        scores: Tensor = self.classifier(self.activation(self.blocks(self.stem(inputs))).mean((2, 3)))
        return scores


class PyramidalBlock(nn.Module):
    """Two 3×3 convolutions between three batch normalisations with one ReLU, added to the inputs.

    New channels are added to zeros; where the resolution is halved, the shortcut is a mean over 2×2 pixels.
    """

    def __init__(self, fan_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(fan_in),
            convolution(fan_in, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            convolution(width, width),
            nn.BatchNorm2d(width),
        )
        # Rounded up, as the convolution does with an odd number of pixels.
        self.shortcut = nn.Identity() if stride == 1 else nn.AvgPool2d(stride, ceil_mode=True)
        self.gained = width - fan_in

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output, ``width`` channels."""
        outputs: Tensor = self.residual(inputs)
        return outputs + functional.pad(self.shortcut(inputs), (0, 0, 0, 0, 0, self.gained))


def pyramidnet110(
    *, alpha: int = 270, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)
) -> nn.Module:
    """PyramidNet-110, 28,485,477 parameters for α = 270 and 10 classes; see :class:`PyramidNet`.

    The network's paper has α = 48, 84 and 270 at this depth, and prints 28.3 M for the last. The papers on SAM do not
    print their α.

    Reference:
        Han, Kim and Kim 2017, arXiv 1610.02915, section 4.
    """
    return PyramidNet(alpha=alpha, classes=classes, input_shape=input_shape)
