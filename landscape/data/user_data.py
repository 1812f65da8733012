"""The user's own data sets, loaders and lists of batches, in the form that every other data set has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from landscape.data.examples import Data, classes_in, shape_note
from landscape.errors import InputError
from landscape.losses.outputs import targets_in
from landscape.objective.arguments import is_pair, tensors_of
from landscape.registry.factories import Kind, needs_only, user_row
from landscape.registry.names import Row

_OWN = Kind(
    "data", [needs_only], "write a function data() that returns a Dataset, or dict(train=…, test=…) of two"
)


def user_data(name: str) -> Row[Data] | None:
    """The row of a data factory of the user's own; ``None`` for a name of another form."""
    row = user_row(name, _OWN)
    if row is None:
        return None
    factory = row.build

    def build(**options: Any) -> Data:
        return as_data(factory(**options), row.name)

    return Row(row.name, build, row.summary, stated=row.stated)


def as_data(data: Any, name: str) -> Data:
    """Data, data sets, loaders or batches as :class:`Data`.

    Args:
        data: Data; a data set, ``DataLoader``, list of batches or ``(inputs, targets)``, which is then the training
            split; a pair ``(train, test)`` of them; or a dictionary with the keys ``train`` or ``test`` or both (and
            ``classes``, ``input_shape``). A loader contributes its data set and its ``collate_fn``, not its order.
        name: The name in records and messages.

    Raises:
        InputError: It is none of these.
    """
    if isinstance(data, Data):
        return data
    if is_pair(data) and not isinstance(data[0], Mapping):
        data = TensorDataset(*tensors_of(tuple(data)))
    parts: Mapping[str, Any] = {"train": data}
    if isinstance(data, Mapping):
        parts = data
    elif isinstance(data, tuple) and len(data) == 2 and all(map(_is_split, data)):
        parts = {"train": data[0], "test": data[1]}
    split = parts.get("train")
    if split is None:
        split = parts.get("test")
    if not _is_split(split):
        kind = f"dictionary of {', '.join(map(str, data))}" if parts is data else type(data).__name__
        raise InputError(
            f"{name} gives a {kind}; a data factory returns a Dataset, a DataLoader or a list of batches, or "
            "dict(train=…, test=…) of them"
        )
    splits = {key: _examples(parts[key], name) for key in ("train", "test") if parts.get(key) is not None}
    examples, collate = next(iter(splits.values()))
    if "test" in splits:
        collate = collate or splits["test"][1]
    try:
        first = examples[0]
    except (IndexError, KeyError):
        raise InputError(f"{name}: the data set is empty") from None
    shape = None
    if isinstance(first, (tuple, list)) and isinstance(first[0], Tensor):
        # An item of fixed batches is a batch, whose first dimension counts examples.
        shape = tuple(first[0].shape[1:] if isinstance(examples, FixedBatches) else first[0].shape)
    classes = parts.get("classes") or _classes(split)
    shape = parts.get("input_shape") or shape
    sizes = ", ".join(f"{key}{_size(part)}" for key, (part, _) in splits.items())
    known = "" if shape is None else f"{shape_note(shape, classes)}; "
    notes = (f"{known}splits {sizes}, as your code gives them",)
    train, test = (splits[key][0] if key in splits else None for key in ("train", "test"))
    return Data(name, train, test, classes, shape, collate, notes)


class FixedBatches(Dataset[Any]):
    """A list of batches as a data set: one item is one batch, which is not put together anew."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def _size(examples: Dataset[Any]) -> str:
    """How many examples or batches there are, for a note."""
    if not hasattr(examples, "__len__"):  # torch asks for none
        return ""
    return f" ({len(examples):,}{' batches' if isinstance(examples, FixedBatches) else ''})"


def _is_split(value: Any) -> bool:
    if isinstance(value, (Dataset, DataLoader)):
        return True
    return isinstance(value, list) and bool(value) and isinstance(value[0], (tuple, list, Mapping, Tensor))


def _examples(value: Any, name: str) -> tuple[Dataset[Any], Callable[[list[Any]], Any] | None]:
    if isinstance(value, DataLoader):
        collate = None if value.collate_fn is default_collate else value.collate_fn
        return _examples(value.dataset, name)[0], collate
    if isinstance(value, IterableDataset):
        raise InputError(
            f"{name} gives an IterableDataset, whose order is not fixed; return a list of its batches instead"
        )
    return (value, None) if isinstance(value, Dataset) else (FixedBatches(value), None)


def _classes(split: Any) -> int | None:
    """The number of classes if the data set, or the targets in it, tell it."""
    dataset = split.dataset if isinstance(split, DataLoader) else split
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    if isinstance(names, (list, tuple)):
        return len(names)
    targets = getattr(dataset, "targets", None)
    if isinstance(dataset, TensorDataset):
        targets = dataset.tensors[-1] if len(dataset.tensors) > 1 else None
    elif isinstance(dataset, list):
        parts = [targets_in(batch) for batch in dataset]
        targets = torch.cat(parts) if all(isinstance(t, Tensor) and t.ndim for t in parts) else None
    return None if targets is None else classes_in(targets)
