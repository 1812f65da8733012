"""The mean squared error, also of class scores to one-hot vectors."""

from torch import Tensor, nn

from landscape.errors import InputError


class SquaredError(nn.MSELoss):
    """``‖f − y‖²/C``, averaged over examples; a class number y stands for its one-hot vector.

    Reference:
        Hui and Belkin 2021, arXiv 2006.07322, for classification by squared error.
    """

    averages_examples = True  # what a derived class must declare itself, as it may do anything

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch."""
        return super().forward(outputs, aligned(outputs, targets, "mse"))


def aligned(outputs: Tensor, targets: Tensor, name: str) -> Tensor:
    """The targets in the shape of the outputs, so that nothing is broadcast by accident.

    Raises:
        InputError: They do not fit.
    """
    if targets.shape == outputs.shape:
        return targets.to(outputs.dtype)
    if outputs.shape == (*targets.shape, 1):
        return targets.unsqueeze(-1).to(outputs.dtype)
    if outputs.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point():
        classes = outputs.shape[1]
        if bool(((targets < 0) | (targets >= classes)).any()):
            raise InputError(
                f"{name}: class numbers from {int(targets.min())} to {int(targets.max())}, "
                f"but there are {classes} scores"
            )
        return nn.functional.one_hot(targets, classes).to(outputs.dtype)
    raise InputError(
        f"{name}: outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} differ in shape; bring them to the "
        "same one in the data or the model"
    )
