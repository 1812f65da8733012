"""What every row of the data table returns: two sets of examples, mostly ``(input, class)`` pairs, and their shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from landscape.errors import InputError, UsageError

Example = tuple[Tensor, Tensor]


class LabelledDataset(Dataset[Example]):
    """A data set whose length is known and which fetches a whole batch at once.

    ``DataLoader`` finds ``__getitems__`` and calls it once a batch, which is what makes it fast here.
    """

    pixels: "Pixels | None" = None
    """How inputs are made of 8-bit pixels, where they are."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """The examples at ``indices``, in that order."""
        raise NotImplementedError


class Pixels:
    """How ``uint8`` pixels become network inputs: ``(pixel/255 − mean)/std``, channel by channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        centre = torch.tensor(mean, dtype=torch.float64).view(-1, 1, 1)
        spread = torch.tensor(std, dtype=torch.float64).view(-1, 1, 1)
        self._scale = (1 / (255 * spread)).float()
        self._shift = (centre / spread).float()

    def normalised(self, images: Tensor) -> Tensor:
        """The float32 inputs of ``uint8`` images ``(N, channels, height, width)``."""
        return images.float().mul_(self._scale).sub_(self._shift)

    def restored(self, inputs: Tensor) -> Tensor:
        """The ``uint8`` images of float32 inputs that :meth:`normalised` made."""
        return inputs.add(self._shift).div_(self._scale).round_().clamp_(0, 255).to(torch.uint8)


class InMemory(LabelledDataset):
    """Examples held as two tensors; images stay ``uint8`` and are normalised batch by batch.

    Args:
        inputs: ``(N, …)``; floats are returned as they are, ``uint8`` images ``(N, channels, height, width)``
            as ``(pixel/255 − mean)/std`` in float32.
        targets: Class numbers ``(N,)``, or floats of any shape ``(N, …)``.
        mean: One value a channel, of the pixels in [0, 1].
        std: One value a channel.
        name: What the data set is called in messages.

    Raises:
        InputError: The set is empty, inputs and targets differ in number, or an input is not finite.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        name: str = "data",
    ) -> None:
        if len(inputs) == 0:
            raise InputError(f"{name}: the data set is empty")
        if len(inputs) != len(targets):
            raise InputError(f"{name}: {len(inputs)} inputs but {len(targets)} targets; the files do not fit")
        if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
            bad = int((~torch.isfinite(inputs)).flatten(1).any(1).sum())
            raise InputError(
                f"{name}: {bad} of {len(inputs)} inputs hold NaN or infinity; clean the data first"
            )
        self.inputs = inputs
        self.targets = targets if targets.is_floating_point() else targets.to(torch.int64)
        self.pixels = Pixels(mean, std) if inputs.dtype == torch.uint8 else None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """The examples at ``indices``, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        inputs = self.inputs[chosen]
        if self.pixels is not None:
            inputs = self.pixels.normalised(inputs)
        return list(zip(inputs.unbind(), self.targets[chosen].unbind(), strict=True))


@dataclass(frozen=True)
class Data:
    """A training set and a test set.

    Attributes:
        name: The specification that loads the same data again, such as ``"moons:noise=0.2"``.
        train: The training examples: pairs, or dictionaries of tensors.
        test: The held-out examples; none of them is in ``train``. ``None`` if there are none.
        classes: The number of classes; ``None`` if the targets are no classes, or it is not known.
        input_shape: The shape of one input; ``None`` if an input is not one tensor.
        collate: Makes a batch of a list of examples; ``None`` for torch's own way.
    """

    name: str
    train: Dataset[Any]
    test: Dataset[Any] | None
    classes: int | None
    input_shape: tuple[int, ...] | None
    collate: Callable[[list[Any]], Any] | None = None

    def split(self, name: str) -> Dataset[Any]:
        """The examples of ``train`` or ``test``.

        Raises:
            UsageError: There is no such split.
            InputError: These data have no held-out examples.
        """
        if name not in ("train", "test"):
            raise UsageError(f"split={name!r} is not one of train, test")
        if name == "train":
            return self.train
        if self.test is None:
            raise InputError(f"{self.name} has no held-out examples; measure on --split train")
        return self.test

    def require_training_pairs(self) -> None:
        """Refuses data that can be measured, but that the trainer cannot use.

        Raises:
            UsageError: They are not pairs of an input and a class number, in two splits.
        """
        if self.classes is None or self.input_shape is None or self.test is None or self.collate is not None:
            raise UsageError(
                f"{self.name} can be measured, but not trained on here: that takes pairs (input, class number), in "
                "a training and a test split"
            )
