"""A small convolutional network without batch normalisation: the loss is the same function in every mode."""

from torch import Tensor, nn

from landscape.errors import InputError, UsageError


class CNN(nn.Module):
    """Three 3×3 convolutions, the mean over the image, one linear layer.

    The convolutions have ``width``, 2·``width`` and 4·``width`` filters; the second and the third halve the
    height and the width. Images of any size fit.

    Args:
        width: Filters of the first convolution.
        classes: Outputs.
        input_shape: ``(channels, height, width)``.

    Raises:
        UsageError: A width below 1.
        InputError: Inputs that are not images.
    """

    def __init__(
        self, *, width: int = 16, classes: int = 10, input_shape: tuple[int, ...] = (3, 32, 32)
    ) -> None:
        super().__init__()
        if width < 1:
            raise UsageError(f"cnn: width={width} must be at least 1")
        self.features = nn.Sequential(
            nn.Conv2d(channels_of(input_shape, "cnn"), width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(4 * width, classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, classes)`` of images ``(B, channels, height, width)``."""
        scores: Tensor = self.classifier(self.features(inputs).mean((2, 3)))
        return scores


def channels_of(input_shape: tuple[int, ...], model: str) -> int:
    """The channels of images ``(channels, height, width)``; raises an :class:`InputError` for other inputs."""
    if len(input_shape) != 3:
        raise InputError(
            f"{model} takes pictures (channels, height, width), but one input of this data has the shape "
            f"{input_shape}; use mlp"
        )
    return input_shape[0]
