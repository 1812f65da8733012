"""The residual networks of the CIFAR experiments, with a 3×3 stem, which torchvision does not ship."""

from torch import Tensor, nn

from landscape.models.cnn import channels_of


class CifarResNet(nn.Module):
    """Basic residual blocks in stages, after one 3×3 convolution that keeps the resolution.

    A stage has ``blocks`` blocks and its entry in ``widths`` as channels; every stage but the first halves the
    resolution. Where a block changes the resolution or the number of channels, its shortcut is a 1×1 convolution with
    batch normalisation (a projection, option B of He et al.). Convolutions are initialised by their fan-out.
    """

    def __init__(self, channels: int, classes: int, *, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(channels, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages: list[nn.Module] = []
        current = widths[0]
        for stage, width in enumerate(widths):
            first = BasicBlock(current, width, stride=1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1))))
            current = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(current, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, classes)`` of images ``(B, channels, height, width)``."""
        scores: Tensor = self.classifier(self.stages(self.stem(inputs)).mean((2, 3)))
        return scores


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch normalisation, added to a shortcut."""

    def __init__(self, fan_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        entry = _convolution(fan_in, width, stride), nn.BatchNorm2d(width), nn.ReLU()
        self.residual = nn.Sequential(*entry, _convolution(width, width), nn.BatchNorm2d(width))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or fan_in != width:
            projection = nn.Conv2d(fan_in, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output, ``width`` channels."""
        outputs: Tensor = self.activation(self.residual(inputs) + self.shortcut(inputs))
        return outputs


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


def _convolution(fan_in: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(fan_in, width, 3, stride=stride, padding=1, bias=False)
