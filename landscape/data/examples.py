"""The form of every data set: two sets of examples, mostly ``(input, class)`` pairs, and their shape."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from landscape.data.pixels import Pixels
from landscape.errors import InputError, UsageError
from landscape.objective.memory import available_bytes

Example = tuple[Tensor, Tensor]


class LabelledDataset(Dataset[Example]):
    """A data set that returns a batch at once; ``pixels`` if inputs are made of 8-bit pixels."""

    targets: Tensor
    pixels: Pixels | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    # DataLoader calls this once a batch where it exists, which is faster than once an example.
    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """The examples at ``indices``, in that order."""
        inputs, targets = self.batch_at(torch.as_tensor(indices, dtype=torch.int64, device="cpu"))
        return list(zip(inputs.unbind(), targets.unbind(), strict=True))

    def batch_at(self, rows: Tensor) -> Example:
        """Inputs and targets of the examples with these numbers, one row an example."""
        return self.inputs_at(rows), self.targets[rows]

    def inputs_at(self, rows: Tensor) -> Tensor:
        """The inputs of the examples with these numbers."""
        raise NotImplementedError


class InMemory(LabelledDataset):
    """Examples in two tensors; images stay ``uint8`` and are normalised batch by batch.

    Args:
        inputs: ``(N, …)``, floats or ``uint8`` images ``(N, channels, height, width)``.
        targets: Class numbers ``(N,)``, or floats of any shape ``(N, …)``.
        mean: One value a channel, of the pixels in [0, 1]; they become ``(pixel/255 − mean)/std`` in float32.
        std: One value a channel.
        name: The name of the data set in messages.

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
        if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
            bad = int((~inputs.isfinite()).flatten(1).any(1).sum())
            raise InputError(f"{name}: {bad} of {len(inputs)} inputs hold NaN or infinity; clean the data")
        self.inputs = inputs
        self.targets = targets if targets.is_floating_point() else targets.to(torch.int64)
        self.pixels = Pixels(mean, std) if inputs.dtype == torch.uint8 else None

    def inputs_at(self, rows: Tensor) -> Tensor:
        """The inputs of the examples with these numbers, normalised."""
        inputs = self.inputs[rows]
        return inputs if self.pixels is None else self.pixels.normalised(inputs)

    def on(self, device: torch.device) -> "InMemory":
        """The same examples on a device, if they take at most a quarter of its memory; otherwise where they are."""
        if (
            self.inputs.device == device
            or self.inputs.nbytes + self.targets.nbytes > available_bytes(device) // 4
        ):
            return self
        twin = copy.copy(self)
        twin.inputs, twin.targets = self.inputs.to(device), self.targets.to(device)
        return twin


def shape_note(shape: Sequence[int], classes: int | None, origin: str = "") -> str:
    """The shape of an input and the number of classes, in words."""
    count = "no classes" if classes is None else f"{classes} classes"
    return f"inputs {'×'.join(map(str, shape)) or 'of one number'}; {count}{origin}"


def classes_in(targets: Any) -> int | None:
    """One more than the largest of class numbers ``(N,)``; ``None`` for targets of another kind."""
    numbers = torch.as_tensor(targets, device="cpu")
    return None if numbers.is_floating_point() or numbers.ndim != 1 else int(numbers.max()) + 1


@dataclass(frozen=True)
class Data:
    """A training set and a test set.

    Attributes:
        name: The specification that loads the same data again, such as ``"moons:noise=0.2"``.
        train: The training examples: pairs, or dictionaries of tensors. ``None`` if there are none.
        test: The held-out examples; none of them is in ``train``. ``None`` if there are none.
        classes: The number of classes; ``None`` if the targets are no classes, or it is not known.
        input_shape: The shape of one input; ``None`` if an input is not one tensor.
        collate: Makes a batch of a list of examples; ``None`` for torch's own way.
        notes: What was assumed about the data, a line each: normalisation, sizes, classes, splits.
        loss: The loss that the targets are for, where they are not class numbers, such as ``"next-token"``.
    """

    name: str
    train: Dataset[Any] | None
    test: Dataset[Any] | None
    classes: int | None
    input_shape: tuple[int, ...] | None
    collate: Callable[[list[Any]], Any] | None = None
    notes: tuple[str, ...] = ()
    loss: str = "mse"

    def split(self, name: str) -> Dataset[Any]:
        """The examples of ``train`` or ``test``.

        Raises:
            UsageError: There is no such split.
            InputError: These data have no examples of that split.
        """
        if name not in ("train", "test"):
            raise UsageError(f"split={name!r} is not one of train, test")
        examples = self.train if name == "train" else self.test
        if examples is None:
            kind, other = ("held-out", "train") if name == "test" else ("training", "test")
            raise InputError(f"{self.name} has no {kind} examples; measure on --split {other}")
        return examples

    def require_training_pairs(self, *, classes: bool = True) -> None:
        """Raises a :class:`UsageError` unless the data are pairs in two splits, with ``classes`` or any targets."""
        if (classes and self.classes is None) or self.input_shape is None or not (self.train and self.test):
            kind = "class number" if classes else "target"
            raise UsageError(
                f"{self.name} can be measured, but the trainer needs pairs (input, {kind}), in a training and a test "
                f"split{f'; for other targets name the loss: --loss {self.loss}' if classes else ''}"
            )
