"""The user's own data sets, loaders and lists of batches, in the form that every other data set has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from landscape.data.examples import Data
from landscape.errors import InputError
from landscape.objective.outputs import LABELS
from landscape.registry.factories import user_row
from landscape.registry.names import Row


def user_data(name: str) -> Row[Data] | None:
    """The row of a data factory of the user's own, ``None`` where ``name`` has another form."""
    row = user_row(name)
    if row is None:
        return None
    made = row.build

    def build(**options: Any) -> Data:
        return as_data(made(**options), name)

    return Row(name, build, row.summary, stated=row.stated)


def as_data(found: Any, name: str) -> Data:
    """``found`` as :class:`Data`.

    Args:
        found: Data; a data set, ``DataLoader`` or list of batches, which is then the training split; a pair
            ``(train, test)`` of them; or a dictionary with the keys ``train`` and ``test`` (and ``classes``,
            ``input_shape``). Of a loader its data set and the way that it makes batches are taken, not its
            order.
        name: What to call it in records and messages.

    Raises:
        InputError: It is none of these.
    """
    if isinstance(found, Data):
        return found
    given: Mapping[str, Any] = {"train": found}
    if isinstance(found, tuple) and len(found) == 2 and all(map(_is_split, found)):
        given = {"train": found[0], "test": found[1]}
    elif isinstance(found, Mapping):
        given = found
    if "train" not in given or not _is_split(given["train"]):
        raise InputError(
            f"{name} gives {_seen(found)}; a data factory returns a Dataset, a DataLoader or a list of batches, or "
            "dict(train=…, test=…) of them"
        )
    train, collate = _examples(given["train"], name)
    test = None
    if given.get("test") is not None:
        test, other = _examples(given["test"], name)
        collate = collate or other
    first = _first(train, name)
    shape = first[0].shape if isinstance(first, (tuple, list)) and isinstance(first[0], Tensor) else None
    batches = isinstance(given["train"], Sequence) and not isinstance(given["train"], Dataset)
    return Data(
        name,
        train,
        test,
        classes=given.get("classes") or _classes(given["train"], first),
        input_shape=given.get("input_shape")
        or (None if shape is None else tuple(shape[1:] if batches else shape)),
        collate=collate,
    )


class FixedBatches(Dataset[Any]):
    """Batches that are made already: one of them is one item, and they are not made again."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def _is_split(value: Any) -> bool:
    if isinstance(value, (Dataset, DataLoader)):
        return True
    return isinstance(value, list) and bool(value) and isinstance(value[0], (tuple, list, Mapping, Tensor))


def _examples(value: Any, name: str) -> tuple[Dataset[Any], Callable[[list[Any]], Any] | None]:
    if isinstance(value, DataLoader):
        return _examples(value.dataset, name)[0], value.collate_fn
    if isinstance(value, IterableDataset):
        raise InputError(
            f"{name} gives an IterableDataset, whose order is not fixed; return a list of its batches instead"
        )
    return (value, None) if isinstance(value, Dataset) else (FixedBatches(value), None)


def _first(examples: Dataset[Any], name: str) -> Any:
    try:
        return examples[0]
    except (IndexError, KeyError):
        raise InputError(f"{name}: the data set is empty") from None


def _classes(split: Any, first: Any) -> int | None:
    """The number of classes where the data set tells it."""
    dataset = split.dataset if isinstance(split, DataLoader) else split
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    named = getattr(dataset, "classes", None)
    if isinstance(named, (list, tuple)):
        return len(named)
    targets = getattr(dataset, "targets", None)
    if isinstance(dataset, TensorDataset):
        targets = dataset.tensors[-1] if len(dataset.tensors) > 1 else None
    elif isinstance(dataset, list):
        found = [_targets(batch) for batch in dataset]
        targets = (
            torch.cat(found)
            if found and all(isinstance(part, Tensor) and part.ndim for part in found)
            else None
        )
    if targets is None:
        return None
    numbers = torch.as_tensor(targets)
    return None if numbers.is_floating_point() or numbers.ndim != 1 else int(numbers.max()) + 1


def _targets(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in LABELS if key in batch), None)
    return batch[1] if isinstance(batch, (tuple, list)) and len(batch) == 2 else None


def _seen(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a dictionary of {', '.join(map(str, found))}"
    return f"a {type(found).__name__}"
