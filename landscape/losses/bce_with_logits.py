"""Binary cross-entropy of logits: one label an example, or several independent ones."""

from torch import Tensor, nn

from landscape.errors import InputError
from landscape.losses.squared_error import aligned


class BinaryCrossEntropy(nn.BCEWithLogitsLoss):
    """``−y log σ(f) − (1 − y) log(1 − σ(f))``, averaged over labels and examples."""

    averages_examples = True  # what a derived class must declare itself, as it may do anything

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch."""
        is_aligned = targets.shape in (outputs.shape, outputs.shape[:1])
        if is_aligned and bool(((targets < 0) | (targets > 1)).any()):
            raise InputError(
                f"bce-with-logits: targets from {targets.min().item():g} to {targets.max().item():g}, but they are "
                "probabilities; class numbers take --loss cross-entropy"
            )
        return super().forward(outputs, aligned(outputs, targets, "bce-with-logits"))
