"""Cross-entropy with class numbers or class probabilities, of one example or of each of its tokens or pixels."""

from typing import Any

from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.losses.outputs import labelled


class CrossEntropy(nn.CrossEntropyLoss):
    """``−log softmax(f)_y``, averaged over the targets that are not −100.

    Scores are ``(B, C)`` for targets ``(B,)``, or ``(B, T, C)`` for targets ``(B, T)``. All positions count the same,
    whatever batch they are in.

    Args:
        label_smoothing: In [0, 1).

    Raises:
        UsageError: A label smoothing that is not allowed.
    """

    averages_examples = True  # what a derived class must declare itself, as it may do anything

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing={label_smoothing} must be at least 0 and less than 1")
        super().__init__(label_smoothing=label_smoothing)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch."""
        if targets.is_floating_point() and targets.shape != outputs.shape:
            raise InputError(
                f"cross-entropy is for class numbers, but the targets are {tuple(targets.shape)} {targets.dtype} and "
                f"the scores {tuple(outputs.shape)}; choose --loss mse or --loss bce-with-logits"
            )
        if outputs.ndim == 3 and targets.shape == outputs.shape[:2]:
            outputs, targets = outputs.flatten(0, 1), targets.flatten()
        return super().forward(outputs, targets)

    def size(self, batch: Any) -> int:
        """The number of examples, or of the positions in them that count, over which the mean is taken."""
        targets = labelled(tuple(batch) if isinstance(batch, list) else batch)[1]
        if targets.is_floating_point():
            return len(targets)
        return int((targets != self.ignore_index).sum())
