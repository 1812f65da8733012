"""Training labels that are wrong on purpose, the same ones in every run: a network can only memorise them."""

import copy
import dataclasses
from collections.abc import Sized
from typing import cast

import torch
from torch.utils.data import Dataset

from landscape.data.examples import Data, Example, LabelledDataset
from landscape.errors import UsageError

HIGHEST = 0.8


def with_label_noise(data: Data, *, rate: float, seed: int = 0) -> Data:
    """The data with symmetric label noise: some training labels become another class, each with equal probability.

    Exactly ``round(rate · N)`` labels are wrong; those of a lower rate are wrong at a higher one too, and become the
    same class. Test labels stay as they are.

    Args:
        data: With true labels.
        rate: From 0 to 0.8.
        seed: Which labels, and what they become.

    Raises:
        UsageError: A rate that is not allowed, or data without classes.

    Reference:
        Foret et al. 2021, arXiv 2010.01412, section 3.3 (20 to 80 %).
    """
    if not 0 <= rate <= HIGHEST:
        raise UsageError(f"label_noise={rate} must be from 0 to {HIGHEST}")
    if rate == 0:
        return data
    if data.classes is None:
        raise UsageError(f"label_noise={rate} needs classes, and {data.name} has none")
    train = data.split("train")
    examples = len(cast(Sized, train))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(examples, generator=generator, device="cpu")
    # Drawn for all examples, so that a lower rate is a part of a higher one; never 0, which would keep the label.
    offsets = torch.randint(1, data.classes, (examples,), generator=generator, device="cpu")
    offsets[order[round(rate * examples) :]] = 0
    if not isinstance(train, LabelledDataset):
        return dataclasses.replace(data, train=Relabelled(train, offsets, classes=data.classes))
    relabelled = copy.copy(train)
    relabelled.targets = (train.targets + offsets) % data.classes
    return dataclasses.replace(data, train=relabelled)


class Relabelled(Dataset[Example]):
    """A data set with the labels ``(label + offset) mod classes``; ``offsets`` has one entry an example."""

    def __init__(self, dataset: Dataset[Example], offsets: torch.Tensor, *, classes: int) -> None:
        self.dataset, self.offsets, self.classes = dataset, offsets, classes
        self.pixels = getattr(dataset, "pixels", None)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> Example:
        inputs, label = self.dataset[index]
        return inputs, (label + self.offsets[index]) % self.classes
