"""The examples of a run in batches: from memory on the device if they fit there, else through a loader."""

from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from landscape.data.examples import InMemory
from landscape.data.pixels import Pixels
from landscape.isolation.loaders import loaded
from landscape.losses.loss_functions import Loss
from landscape.objective.misfits import refuse_labels


class Examples:
    """One split of a data set.

    Args:
        dataset: Pairs of an input and a target.
        collate: Makes a batch of a list of examples; ``None`` for torch's own way.
        device: Where examples that are in memory are kept, if they fit; others come on the CPU.
    """

    def __init__(
        self, dataset: Dataset[Any], collate: Callable[[list[Any]], Any] | None, *, device: torch.device
    ) -> None:
        in_memory = isinstance(dataset, InMemory) and collate is None
        self._dataset = cast(InMemory, dataset).on(device) if in_memory else dataset
        self._collate = collate
        self._check: Callable[[list[Any]], None] | None = None
        self.pixels: Pixels | None = getattr(dataset, "pixels", None)

    def __len__(self) -> int:
        return len(cast(Sized, self._dataset))

    def refuse_labels(self, loss: Loss, outputs: Any, *, split: str) -> None:
        """Refuses labels that a network with such outputs does not have: in memory at once, others as they are read.

        The loss itself would refuse them in words of its own, and on a GPU leave it unusable for this process.

        Raises:
            InputError: There are such labels.
        """
        self._check = partial(refuse_labels, loss, outputs, where=f"the {split} split")
        if isinstance(self._dataset, InMemory):
            self._check([(None, self._dataset.targets)])

    def batches(self, numbers: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of one batch after the other, from the numbers of their examples."""
        dataset = self._dataset
        if isinstance(dataset, InMemory) and self._collate is None:
            # Without a loader, which takes a batch apart into examples and joins it again; the numbers in one copy.
            everything = torch.tensor([number for batch in numbers for number in batch], device="cpu")
            there = everything.to(dataset.inputs.device, non_blocking=True)
            rows = torch.split(there, [len(batch) for batch in numbers])
            yield from map(dataset.batch_at, rows)
            return
        # Without its own generator, the loader would draw from the one that dropout uses.
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=cast(Any, numbers),
            generator=torch.Generator(),
            collate_fn=self._collate,
        )
        for batch in loaded(loader):
            if self._check is not None:
                self._check([batch])
            yield batch
