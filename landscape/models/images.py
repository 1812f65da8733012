"""What a convolutional network asks of its input."""

from landscape.errors import InputError


def channels_of(input_shape: tuple[int, ...], model: str) -> int:
    """The channels of pictures ``(channels, height, width)``.

    Raises:
        InputError: The inputs are not pictures.
    """
    if len(input_shape) != 3:
        raise InputError(
            f"{model} takes pictures (channels, height, width), but one input of this data has the shape "
            f"{input_shape}; use mlp"
        )
    return input_shape[0]
