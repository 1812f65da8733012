"""The residual networks of the CIFAR experiments, with a 3×3 stem, which torchvision does not ship."""

from torch import Tensor, nn

from landscape.models.cnn import channels_of


class CifarResNet(nn.Module):
    """Residual blocks in stages, after one 3×3 convolution that keeps the resolution.

    A stage has as many blocks as its entry in ``blocks`` says (one number: each stage) and its entry in ``widths`` as
    channels, or four times as many with bottlenecks; every stage but the first halves the resolution. Where a block
    changes the resolution or the number of channels, its shortcut is a 1×1 convolution with batch normalisation (a
    projection, option B of He et al.). Convolutions are initialised by their fan-out.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        widths: tuple[int, ...],
        blocks: int | tuple[int, ...],
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        depths = (blocks,) * len(widths) if isinstance(blocks, int) else blocks
        self.stem = nn.Sequential(convolution(channels, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages: list[nn.Module] = []
        current = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            first = block(current, width, stride=1 if stage == 0 else 2)
            current = width * block.expansion
            stages.append(nn.Sequential(first, *(block(current, width) for _ in range(depth - 1))))
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(current, classes)
        initialise_convolutions(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, classes)`` of images ``(B, channels, height, width)``."""
        scores: Tensor = self.classifier(self.stages(self.stem(inputs)).mean((2, 3)))
        return scores


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch normalisation, added to a shortcut."""

    expansion = 1  # the channels of the output by ``width``

    def __init__(self, fan_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = self._residual(fan_in, width, stride)
        fan_out = width * self.expansion
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or fan_in != fan_out:
            projection = nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(fan_out))
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output, ``width`` times :attr:`expansion` channels."""
        outputs: Tensor = self.activation(self.residual(inputs) + self.shortcut(inputs))
        return outputs

    def _residual(self, fan_in: int, width: int, stride: int) -> nn.Sequential:
        entry = convolution(fan_in, width, stride), nn.BatchNorm2d(width), nn.ReLU()
        return nn.Sequential(*entry, convolution(width, width), nn.BatchNorm2d(width))


class Bottleneck(BasicBlock):
    """A 1×1, a 3×3 and a 1×1 convolution with batch normalisation, added to a shortcut; the 3×3 has the stride."""

    expansion = 4

    def _residual(self, fan_in: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(fan_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            convolution(width, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, self.expansion * width, 1, bias=False),
            nn.BatchNorm2d(self.expansion * width),
        )


def resnet18(*, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)) -> nn.Module:
    """ResNet-18 with the CIFAR stem: four stages of 64 to 512 channels, 11.2 M parameters.

    Reference:
        He et al. 2016, arXiv 1512.03385, table 1; the first 7×7 convolution and the pooling become one 3×3
        convolution.
    """
    return CifarResNet(channels_of(input_shape, "resnet18"), classes, widths=(64, 128, 256, 512), blocks=2)


def resnet20(*, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)) -> nn.Module:
    """ResNet-20 for CIFAR: three stages of 16, 32 and 64 channels, 272,474 parameters for 10 classes.

    Reference:
        He et al. 2016, arXiv 1512.03385, section 4.2. The paper's CIFAR networks pad the shortcut with zeros
        (option A, 269,722 parameters); here it is a projection (option B), as in most published checkpoints.
    """
    return CifarResNet(channels_of(input_shape, "resnet20"), classes, widths=(16, 32, 64), blocks=3)


def resnet50(*, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)) -> nn.Module:
    """ResNet-50 with the CIFAR stem: bottlenecks in stages of 3, 4, 6 and 3, 23,520,842 parameters for 10 classes.

    Reference:
        He et al. 2016, arXiv 1512.03385, table 1, with the stem of :func:`resnet18`.
    """
    return _deep(channels_of(input_shape, "resnet50"), classes, third=6)


def resnet101(*, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)) -> nn.Module:
    """ResNet-101 with the CIFAR stem: bottlenecks in stages of 3, 4, 23 and 3, 42,512,970 parameters for 10 classes.

    Reference:
        He et al. 2016, arXiv 1512.03385, table 1, with the stem of :func:`resnet18`.
    """
    return _deep(channels_of(input_shape, "resnet101"), classes, third=23)


def convolution(fan_in: int, width: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias that keeps the resolution, or divides it by the stride, rounded up."""
    return nn.Conv2d(fan_in, width, 3, stride=stride, padding=1, bias=False)


def initialise_convolutions(network: nn.Module) -> None:
    """Draws the weights of all convolutions by their fan-out, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _deep(channels: int, classes: int, *, third: int) -> CifarResNet:
    blocks = (3, 4, third, 3)
    return CifarResNet(channels, classes, widths=(64, 128, 256, 512), blocks=blocks, bottleneck=True)
