"""One batch: tensors in tuples, lists and mappings, however nested; its rows are its examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError

Batch = Any


def tensors_in(batch: Batch) -> Iterator[Tensor]:
    """Every tensor in a nested batch of tuples, lists and mappings."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (Mapping, tuple, list)):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_in(value)


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The same batch with ``function`` applied to every tensor; sequences become tuples."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(value, function) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(mapped(value, function) for value in batch)
    return batch


def rows_in(batch: Batch) -> int | None:
    """The leading dimension that all tensors of a nested batch have in common; ``None`` if there is none.

    A batch with rows can be divided by :func:`rows_of`: it contains only tensors, and numbers that hold for all rows.
    """
    if isinstance(batch, Mapping):
        constants = (bool, int, float, type(None))
        counts = {rows_in(value) for value in batch.values() if not isinstance(value, constants)}
    elif isinstance(batch, (tuple, list)):
        counts = {rows_in(value) for value in batch}
    else:
        return int(batch.shape[0]) if isinstance(batch, Tensor) and batch.ndim else None
    return counts.pop() if len(counts) == 1 else None


def rows_of(batch: Batch, rows: "Tensor | slice") -> Batch:
    """Some rows of every tensor."""
    return mapped(
        batch,
        lambda tensor: tensor[rows if isinstance(rows, slice) else rows.to(tensor.device, non_blocking=True)],
    )


def form_of(batch: Batch) -> list[object]:
    """Keys, shapes of rows, and types of a nested batch; batches of equal form can be joined."""
    if isinstance(batch, Mapping):
        return [part for key, value in batch.items() for part in (key, *form_of(value))]
    if isinstance(batch, (tuple, list)):
        return [len(batch), *(part for value in batch for part in form_of(value))]
    return [(batch.shape[1:], batch.dtype) if isinstance(batch, Tensor) else batch]


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of equal form, row after row."""
    first = batches[0]
    if len(batches) == 1 or not isinstance(first, (Tensor, Mapping, tuple, list)):
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(batches))
    if isinstance(first, Mapping):
        return {key: joined([batch[key] for batch in batches]) for key in first}
    return tuple(joined([batch[k] for batch in batches]) for k in range(len(first)))


def example(batch: Batch, index: int) -> Batch:
    """One example of a batch, as a batch of its own."""
    return mapped(batch, lambda tensor: tensor[index : index + 1] if tensor.ndim else tensor)


def first_examples(batch: Batch, count: int) -> Batch:
    """The first examples of a batch, or all of one that cannot be cut."""
    size = leading_size(batch)
    return mapped(batch, lambda t: t[:count] if t.ndim and len(t) == size else t)


def leading_size(batch: Batch) -> int:
    """The leading dimension of the first tensor that has one."""
    for tensor in tensors_in(batch):
        if tensor.ndim:
            return int(tensor.shape[0])
    raise InputError(
        f"cannot tell how many examples a batch holds ({type(batch).__name__} without tensors): pass tensors or NumPy "
        "arrays, (inputs, targets), or for batches of another kind BatchLoss(fn, size=lambda batch: …)"
    )


def moved(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The batch on a device, its floating-point tensors in ``dtype``; tensors that are there already are not copied."""

    def put(tensor: Tensor) -> Tensor:
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            tensor = tensor.clone()  # autograd does not save inference tensors
        # From pinned memory the host does not wait for the copy, and reads the next batch while the device computes.
        if device.type == "cuda" and tensor.device.type == "cpu" and tensor.layout is torch.strided:
            tensor = tensor.pin_memory()
        return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype, non_blocking=True)

    return mapped(batch, put)


def copied(batch: Batch) -> Batch:
    """The batch in memory of its own; a tensor that occurs twice, as the target of an autoencoder, is copied once."""
    copies: dict[object, Tensor] = {}

    def copy_of(tensor: Tensor) -> Tensor:
        try:
            place: object = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        except RuntimeError:  # sparse, or the stand-in of a tensor while it is traced or mapped over
            place = id(tensor)
        if place not in copies:
            copies[place] = tensor.clone()
        return copies[place]

    return mapped(batch, copy_of)


def versions(batch: Batch) -> list[int]:
    """The number of writes that autograd has seen to each tensor; inference tensors, which have none, are left out."""
    return [tensor._version for tensor in tensors_in(batch) if not tensor.is_inference()]
