"""The data an empirical risk is taken over: a fixed sequence of batches, the same at every visit."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler

from landscape.errors import InputError
from landscape.isolation import private_randomness, undisturbed
from landscape.objective.loss_functions import IGNORED

Batch = Any
Source = DataLoader[Any] | Dataset[Any] | Iterable[Any]

KEPT_BYTES = 2 << 30
"""Batches are kept while they fit into this much memory; beyond it they are read at each visit."""


class Batches:
    """A fixed sequence of batches, read once and remembered if it fits in memory.

    Args:
        source: A ``DataLoader``, a list of batches, or a map-style ``Dataset`` together with ``batch_size``.
        batch_size: Examples a batch, for a ``Dataset``.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
        weight: What the mean of a batch is divided by, and batches are therefore weighted by; by default its size.
            A batch of weight 0 contributes nothing and is left out.

    Raises:
        InputError: The source is empty, holds values that are not finite, cannot be read twice the same, or has no
            batch of any weight.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int | None = None,
        size: Callable[[Batch], int] | None = None,
        weight: Callable[[Batch], float] | None = None,
    ) -> None:
        if isinstance(source, Batches):
            raise TypeError("batches are already fixed: pass the loader, list or data set itself")
        if isinstance(source, Dataset) and not isinstance(source, DataLoader):
            if isinstance(source, IterableDataset):
                raise InputError("an IterableDataset has no fixed order: pass a list of batches")
            source = DataLoader(source, batch_size=batch_size or 128, shuffle=False)
        elif batch_size is not None:
            raise InputError(
                f"batch_size={batch_size} goes with a Dataset; here the batches are already made"
            )
        if not isinstance(source, (DataLoader, Sequence)):
            source = list(undisturbed(source))
        self._source: DataLoader[Any] | Sequence[Any] = source
        self._size = size or leading_size
        self._weight = weight
        self._kept: Sequence[Any] | None = None
        self._sizes: list[int] | None = None
        self._weights: list[float] | None = None
        self._ignoring: Batch | None = None
        self._content: Content | None = None

    @property
    def content(self) -> str | None:
        """The first 12 digits of the SHA-256 of all examples; ``None`` where a batch holds what has no bytes."""
        if self._sizes is None:
            self._read()
        if self._content is None:
            assert self._kept is not None
            self._content = Content()
            for batch in self._kept:
                self._content.add(batch)
        return self._content.digest()

    @property
    def sizes(self) -> list[int]:
        """Examples in each batch of some weight."""
        return [size for size, weight in zip(self._all_sizes, self._all_weights, strict=True) if weight > 0]

    @property
    def weights(self) -> list[float]:
        """The weight of each batch of some weight."""
        return [weight for weight in self._all_weights if weight > 0]

    @property
    def total_weight(self) -> float:
        """The weight of all batches, W."""
        return sum(self._all_weights)

    @property
    def num_examples(self) -> int:
        """Examples in all batches, N."""
        return sum(self._all_sizes)

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        """Yields ``(examples, batch)`` for each batch of some weight, in the same order every time."""
        weights = self._all_weights
        for (size, batch), weight in zip(self._everything(), weights, strict=True):
            if weight > 0:
                yield size, batch

    def size_of(self, batch: Batch) -> int:
        """The number of examples in a batch or a part of one."""
        return self._size(batch)

    def weight_of(self, batch: Batch) -> float:
        """What the mean of a batch, or of a part of one, is divided by."""
        return float(self._size(batch) if self._weight is None else self._weight(batch))

    def weigh(self, weight: Callable[[Batch], float]) -> None:
        """Sets what batches are weighted by, where the loss did not tell before it was tried."""
        self._weight, self._weights = weight, None

    def samples(self) -> list[Batch]:
        """Batches that differ where data are in an order: the first, the last, and one with labels of −100."""
        sizes = self._all_sizes
        ends = (
            []
            if self._kept is None
            else [self._kept[0], self._kept[-1]]
            if len(sizes) > 1
            else [self._kept[0]]
        )
        return ends if self._ignoring is None else [*ends, self._ignoring]

    def single(self, batch: Batch, size: int) -> "Batches":
        """One of these batches as a sequence of its own."""
        alone = Batches([batch], size=self._size, weight=self._weight)
        alone._kept, alone._sizes = [batch], [size]
        return alone

    def stored_as(self, batches: Sequence[Batch]) -> "Batches":
        """The same data with its batches of some weight stored in another way, such as on another device."""
        twin = copy.copy(self)
        twin._source, twin._kept, twin._content = [], batches, self._content
        twin._sizes, twin._weights = self.sizes, self.weights
        return twin

    @property
    def _all_sizes(self) -> list[int]:
        if self._sizes is None:
            self._read()
        assert self._sizes is not None
        return self._sizes

    @property
    def _all_weights(self) -> list[float]:
        sizes = self._all_sizes
        if self._weights is None:
            weight = self._weight
            self._weights = (
                [float(size) for size in sizes]
                if weight is None
                else [float(weight(batch)) for _, batch in self._everything()]
            )
            if not sum(self._weights) > 0:
                raise InputError(
                    "no example of the data counts: the weights of all batches are 0 (are all labels the ignored one, "
                    "or of classes of weight 0?)"
                )
        return self._weights

    def _everything(self) -> Iterator[tuple[int, Batch]]:
        sizes = self._all_sizes
        if self._kept is not None:
            yield from zip(sizes, self._kept, strict=True)
            return
        yield from zip(sizes, undisturbed(self._source), strict=True)

    def _read(self) -> None:
        kept: list[Batch] | None = []
        held, sizes = 0, []
        content = Content()
        with private_randomness():
            self._refuse_random_examples()
        for index, batch in enumerate(undisturbed(self._source)):
            tensors = list(tensors_in(batch))
            for tensor in tensors:
                if tensor.is_meta:
                    raise InputError(
                        f"batch {index} of the data is on the meta device: a tensor of shape {tuple(tensor.shape)} "
                        "without values; load the data itself"
                    )
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    bad = int((~torch.isfinite(tensor)).sum())
                    raise InputError(
                        f"batch {index} of the data holds {bad} values that are NaN or infinite "
                        f"(tensor of shape {tuple(tensor.shape)}); remove or repair those examples"
                    )
            if self._ignoring is None and any(map(_ignores, tensors)):
                self._ignoring = batch
            sizes.append(self._size(batch))
            content.add(batch)  # here, as data beyond what is kept would have to be read once more
            held += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            if kept is not None:
                kept.append(batch)
                if held > KEPT_BYTES and isinstance(self._source, DataLoader):
                    self._refuse_shuffling(held)
                    kept = None
        if sum(sizes) == 0:
            raise InputError("the data set is empty: there is nothing to average over")
        self._kept, self._sizes, self._content = kept, sizes, content

    def _refuse_shuffling(self, held: int) -> None:
        assert isinstance(self._source, DataLoader)
        if not isinstance(self._source.sampler, SequentialSampler):
            sampler = type(self._source.sampler).__name__
            raise InputError(
                f"the DataLoader draws its examples with {sampler} and holds more than "
                f"{held / 2**30:.1f} GiB, too much to keep; pass one with shuffle=False"
            )

    def _refuse_random_examples(self) -> None:
        """Two readings of the first example must agree: a random augmentation is another loss each time."""
        if not isinstance(self._source, DataLoader) or isinstance(self._source.dataset, IterableDataset):
            return
        data = self._source.dataset
        if len(data) == 0:  # type: ignore[arg-type]
            raise InputError("the data set is empty: there is nothing to average over")
        first, second = (list(tensors_in(data[0])) for _ in range(2))
        if any(not torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            raise InputError(
                "the data set is random: two readings of example 0 differ (an augmentation?); "
                "measure on the data without random transforms"
            )


class Content:
    """The hash of what batches hold, the same however the examples are divided into batches of tensors.

    Each place in a batch (the inputs, the targets, an entry of a dictionary) has a sum of its own over the bytes of
    all batches, so that the bytes are read once, as they come, and none is copied.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._kinds: dict[str, str] = {}
        self._opaque = False

    def add(self, batch: Batch, place: str = "") -> None:
        """Takes in one more batch."""
        if isinstance(batch, Mapping):
            for key, value in batch.items():
                self.add(value, f"{place}.{key!r}")
        elif isinstance(batch, (tuple, list)):
            for index, value in enumerate(batch):
                self.add(value, f"{place}.{index}")
        elif isinstance(batch, Tensor) and batch.layout == torch.strided and not batch.is_nested:
            self._update(place, f"{batch.dtype}{list(batch.shape[1:])}", _bytes_of(batch))
        elif isinstance(batch, np.ndarray) and batch.dtype != object:
            self._update(place, f"{batch.dtype}{list(batch.shape[1:])}", batch.tobytes())
        elif batch is None or isinstance(batch, (bool, int, float, str, bytes)):
            self._update(place, type(batch).__name__, repr(batch).encode())
        else:
            self._opaque = True

    def digest(self) -> str | None:
        """The first 12 digits of the SHA-256; ``None`` if something in a batch has no bytes that are known."""
        sums = sorted((place, part.hexdigest()) for place, part in self._sums.items())
        return None if self._opaque else hashlib.sha256(repr(sums).encode()).hexdigest()[:12]

    def _update(self, place: str, kind: str, content: Any) -> None:
        part = self._sums.setdefault(place, hashlib.sha256())
        if self._kinds.get(place) != kind:  # at first, and where batches are padded to lengths of their own
            self._kinds[place] = kind
            part.update(kind.encode())
        part.update(content)


def _bytes_of(tensor: Tensor) -> "np.ndarray[Any, Any]":
    """The bytes of a tensor in the order of its elements; no copy where it is on the CPU and contiguous."""
    held = tensor.detach().as_subclass(Tensor).resolve_conj().resolve_neg().cpu().contiguous()
    return held.reshape(-1).view(torch.uint8).numpy()


def tensors_in(batch: Batch) -> Iterator[Tensor]:
    """Every tensor in a nested batch of tuples, lists and mappings."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_in(value)
    elif isinstance(batch, (tuple, list)):
        for value in batch:
            yield from tensors_in(value)


def _ignores(tensor: Tensor) -> bool:
    """Whether a tensor of class numbers has the one that torch's cross-entropy leaves out."""
    return tensor.dtype is torch.int64 and bool((tensor == IGNORED).any())


def rows_in(batch: Batch) -> int | None:
    """The leading dimension that all tensors of a nested batch have; ``None`` if they differ or there are others.

    Such a batch can be taken apart by :func:`rows_of`: it holds nothing but tensors, and numbers that hold for all.
    """
    if isinstance(batch, Mapping):
        counts = {rows_in(one) for one in batch.values() if not _plain(one)}
    elif isinstance(batch, (tuple, list)):
        counts = {rows_in(one) for one in batch}
    else:
        return int(batch.shape[0]) if isinstance(batch, Tensor) and batch.ndim else None
    return counts.pop() if len(counts) == 1 else None


def rows_of(batch: Batch, rows: "Tensor | slice") -> Batch:
    """Some rows of every tensor."""
    return mapped(batch, lambda tensor: tensor[rows if isinstance(rows, slice) else rows.to(tensor.device)])


def _plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float))


def leading_size(batch: Batch) -> int:
    """The leading dimension of the first tensor that has one."""
    for tensor in tensors_in(batch):
        if tensor.ndim:
            return int(tensor.shape[0])
    raise InputError(
        f"cannot tell how many examples a batch holds ({type(batch).__name__} without tensors); "
        "pass BatchLoss(fn, size=lambda batch: …)"
    )


def moved(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The batch on a device, its floating-point tensors in ``dtype``; tensors that are there already are not copied.

    Args:
        batch: Of tensors.
        device: Where to.
        dtype: Of its floating-point tensors.
    """

    def put(tensor: Tensor) -> Tensor:
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            tensor = tensor.clone()
        wanted = dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(device, wanted, non_blocking=True)

    return mapped(batch, put)


def copied(batch: Batch) -> Batch:
    """The batch in memory of its own; what stands in it twice is copied once, as autoencoders have their targets."""
    copies: dict[object, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        place = _place(tensor)
        if place not in copies:
            copies[place] = tensor.clone()
        return copies[place]

    return mapped(batch, copy)


def _place(tensor: Tensor) -> object:
    """Equal for tensors that show the same memory in the same way."""
    try:
        return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
    except RuntimeError:  # sparse, or the stand-in of a tensor while it is traced or mapped over
        return id(tensor)


def versions(batch: Batch) -> list[int]:
    """How often autograd has seen a write to each tensor, without those made in inference mode, which do not count."""
    return [tensor._version for tensor in tensors_in(batch) if not tensor.is_inference()]


def example(batch: Batch, index: int) -> Batch:
    """One example of a batch, as a batch of its own."""
    return mapped(batch, lambda tensor: tensor[index : index + 1] if tensor.ndim else tensor)


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The same batch with ``function`` applied to every tensor; sequences become tuples."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(value, function) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(mapped(value, function) for value in batch)
    return batch
