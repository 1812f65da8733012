"""The data of an empirical risk: a fixed sequence of batches, the same at every visit."""

import copy
import hashlib
import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from landscape.errors import InputError, is_out_of_memory
from landscape.isolation.loaders import loading, undisturbed
from landscape.isolation.randomness import private_randomness
from landscape.losses.loss_functions import IGNORED
from landscape.objective.batch import (
    Batch,
    copied,
    example,
    form_of,
    joined,
    leading_size,
    mapped,
    moved,
    rows_in,
    rows_of,
    tensors_in,
)
from landscape.objective.content import Content
from landscape.objective.division import Amounts, Division
from landscape.objective.memory import available_bytes
from landscape.processes.group import ALONE, Group

Source = DataLoader[Any] | Dataset[Any] | Iterable[Any]

KEPT_BYTES = 2 << 30
"""Batches are kept while they fit into this much memory; beyond it they are read at each visit."""

DEVICE_SHARE = 4
"""Copies of batches may take one part in so many of the memory that is free on a GPU."""

LEAST_SAMPLE, MOST_SAMPLE = 256, 2048
"""Fewest and most examples in a sample; benchmarks/README.md gives the cost and the accuracy."""


class Batches:
    """A fixed sequence of batches, read once and kept if it fits in memory.

    Args:
        source: A ``DataLoader``, a list of batches, or a map-style ``Dataset`` together with ``batch_size``.
        batch_size: Examples a batch, for a ``Dataset``.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
        prepare: What is made of a batch when it is read; sizes and weights are those of its result.
        weight: The number by which the mean of a batch is divided, and batches are therefore weighted; by default its
            size. A batch of weight 0 contributes nothing and is left out.
        group: The processes that divide the batches among them: sizes, weights and counts are those of all batches, and
            each process visits a block of them. :meth:`settle` comes first.
        own: Whether the source holds only the batches of this process, rather than those of all.

    Raises:
        InputError: The source is empty, has values that are not finite, yields others when it is read again, or has no
            batch of any weight.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int | None = None,
        size: Callable[[Batch], int] | None = None,
        weight: Callable[[Batch], float] | None = None,
        prepare: Callable[[Batch], Batch] | None = None,
        group: Group = ALONE,
        own: bool = False,
    ) -> None:
        if isinstance(source, Batches):
            raise TypeError("batches are already fixed: pass the loader, list or data set itself")
        if isinstance(source, Dataset) and not isinstance(source, DataLoader):
            if isinstance(source, IterableDataset):
                raise InputError("an IterableDataset has no fixed order: pass a list of batches")
            source = DataLoader(source, batch_size=batch_size or 128, shuffle=False)
        elif batch_size is not None:
            raise InputError(
                f"batch_size={batch_size} goes with a Dataset or (inputs, targets); here batches are already made: "
                "leave it out"
            )
        if not isinstance(source, (DataLoader, Sequence)):
            source = list(undisturbed(source))
        self._source: DataLoader[Any] | Sequence[Any] = source
        self._size = size or leading_size
        self._weight = weight
        self._prepare = prepare
        self.group, self._is_own = group, own and not group.alone
        self._division: Division | None = None
        self._common: _Common | None = None
        self._amounts: dict[tuple[int, int], tuple[int, float]] = {}
        self._copies: dict[int, Batch] = {}  # on another device
        self._room = -1  # bytes that more copies may take; −1 for unknown

    @property
    def content(self) -> str | None:
        """The first 12 digits of the SHA-256 of all examples; ``None`` if a batch contains objects without bytes.

        Of parts that several processes hold, that of their hashes in order.
        """
        if self._common is not None:
            return self._common.content
        content = self._reading.content or Content(self._reading.kept or ())
        return content.digest()

    def settle(self) -> None:
        """Exchanges what every process has to know of the batches of the others; called by all of them together.

        Raises:
            InputError: The data of any of them cannot be used.
        """
        if self.group.alone:
            return
        with self.group.together("reading of the data"):
            amounts = self._held
            if not self._is_own:
                _ = self.division
        if self._is_own:
            self._division = Division.joined(self.group.gathered(amounts), self.group)
            if self._common is None:
                self._common = self._exchanged()

    def leading(self) -> Iterator[tuple[int, Batch]]:
        """The first batches of some weight of all, the same in every process: up to one of several rows, or more."""
        return iter(self) if self._common is None else iter(self._common.leading)

    def _exchanged(self) -> "_Common":
        """What decisions that have to be the same in all processes are made from, where each holds its own batches."""
        division, group = self.division, self.group
        digests = group.gathered(self.content)
        numbers = [0, next((k for k, rows in enumerate(division.rows) if rows > 1), 0)]
        leading = [
            (division.sizes[k], self._sent(partial(self._at, k), division.owner(k)))
            for k in dict.fromkeys(numbers)
        ]
        ignoring = [
            rank for rank, there in enumerate(group.gathered(self._reading.ignoring is not None)) if there
        ]
        # Slices, as there is none where the batches are not kept.
        samples = [
            *self._sent(lambda: self.samples()[:1], 0),
            *self._sent(lambda: self.samples()[-1:], group.world - 1),
        ]
        for rank in ignoring[:1]:
            samples += self._sent(lambda: self.samples()[-1:], rank)
        content = None if None in digests else hashlib.sha256(repr(digests).encode()).hexdigest()[:12]
        return _Common(leading, samples, content)

    def _at(self, number: int) -> Batch:
        """One of the batches that this process visits."""
        index = number - self.division.here.start
        return next(itertools.islice(self.here(), index, None))[1]

    def _sent(self, read: Callable[[], Batch], owner: int) -> Batch:
        """A batch of one process in all of them, on the CPU."""
        # Pickled where its failure is raised in all processes: not everything in a batch may allow it.
        call = "exchange of a batch"
        return pickle.loads(self.group.once(lambda: pickle.dumps(_sendable(read())), by=owner, call=call))

    @property
    def division(self) -> Division:
        """The batches of some weight, and which of them this process visits."""
        if self._division is None:
            assert not self._is_own, "settle() comes before"
            self._division = Division.split(self._held, self.group)
        return self._division

    @property
    def is_divided(self) -> bool:
        """Whether no process holds all batches."""
        return self._is_own

    @property
    def sizes(self) -> list[int]:
        """Examples in each batch of some weight."""
        return self.division.sizes

    @property
    def weights(self) -> list[float]:
        """The weight of each batch of some weight."""
        return self.division.weights

    @property
    def total_weight(self) -> float:
        """The weight of all batches, W."""
        return sum(self.division.weights)

    @property
    def examples_read(self) -> int | None:
        """The number of examples if the data were read already, else ``None``."""
        return self.num_examples if "_reading" in self.__dict__ else None

    @property
    def num_examples(self) -> int:
        """Examples in all batches, N."""
        return self.division.num_examples if self._is_own else sum(self._reading.sizes)

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        """Yields ``(examples, batch)`` for each batch of some weight held here, in the same order every time."""
        _ = self.division  # raises if no batch has any weight
        for size, weight, batch in zip(self._held.sizes, self._held.weights, self._everything(), strict=True):
            if weight > 0:
                yield size, batch

    def here(self) -> Iterator[tuple[int, Batch]]:
        """The same for each batch that this process visits."""
        block = self.division.here
        if self._loader_here is not None:
            there = self._prepared(undisturbed(self._loader_here))
            return zip(self.sizes[block.start : block.stop], there, strict=True)
        first = 0 if self._is_own else block.start
        return itertools.islice(self, first, first + len(block))

    @cached_property
    def _loader_here(self) -> DataLoader[Any] | None:
        """A loader of the batches that this process visits, where it would have to read all to get at them."""
        source = self._source
        if self.group.alone or self._is_own or self._reading.kept is not None:
            return None
        assert isinstance(source, DataLoader)  # all others are kept
        if type(source.batch_sampler) is not BatchSampler or not isinstance(
            source.sampler, SequentialSampler
        ):
            return None
        some = [number for number, weight in enumerate(self._held.weights) if weight > 0]
        block = self.division.here
        mine = set(some[block.start : block.stop])
        return DataLoader(
            source.dataset,
            batch_sampler=[rows for number, rows in enumerate(source.batch_sampler) if number in mine],
            collate_fn=source.collate_fn,
            num_workers=source.num_workers,
            pin_memory=source.pin_memory,
            worker_init_fn=source.worker_init_fn,
            prefetch_factor=source.prefetch_factor,
        )

    def on(self, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[int, Batch]]:
        """The same on a device, with copies that stay there as long as memory allows; on the CPU without copies."""
        if device.type == "cpu":
            yield from self.here()
        elif len(self._copies) == len(self.division.here):
            block = self.division.here
            # Without reading the source.
            yield from zip(self.sizes[block.start : block.stop], list(self._copies.values()), strict=True)
        else:
            for number, (size, batch) in enumerate(self.here()):
                yield size, self._copy_of(number, batch, device, dtype)

    def release(self) -> bool:
        """Drops the copies on another device and keeps none from now on; returns whether there were any."""
        any_kept = bool(self._copies)
        self._copies, self._room = {}, 0
        return any_kept

    def _copy_of(self, number: int, batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
        if number in self._copies:
            return self._copies[number]
        if self._room < 0:
            self._room = room_on(device)
        try:
            copy_there = moved(batch, device, dtype)
        except (RuntimeError, MemoryError) as failure:
            if not is_out_of_memory(failure):
                raise
            self.release()
            return batch  # whoever computes with it has ways to make room
        size = sum(tensor.nbytes for tensor in tensors_in(copy_there))
        # In order and without gaps, so that as many copies as batches are all of them.
        if number == len(self._copies) and size <= self._room:
            self._copies[number] = copy_there
            self._room -= size
        return copy_there

    @property
    def in_memory(self) -> Sequence[Batch]:
        """The batches if they are kept, else none."""
        return self._reading.kept or ()

    def amounts(self, place: tuple[int, int], batch: Batch) -> tuple[int, float]:
        """The number of examples and the weight of some rows of the data, given by the first row and their number."""
        # Remembered, because both may be read from labels, and each read waits for the device that holds them.
        if place not in self._amounts:
            self._amounts[place] = self._size(batch), self.weight_of(batch)
        return self._amounts[place]

    def weight_of(self, batch: Batch) -> float:
        """The number by which the mean of a batch, or of a part of one, is divided."""
        return float(self._size(batch) if self._weight is None else self._weight(batch))

    def weigh(self, weight: Callable[[Batch], float]) -> None:
        """Sets the weights of batches, for losses whose weights are known only after a trial."""
        self._weight, self._amounts, self._division = weight, {}, None
        for name in ("_held", "_loader_here"):
            self.__dict__.pop(name, None)

    def samples(self) -> list[Batch]:
        """Batches that may differ: the first and the last, and one with labels of −100."""
        if self._common is not None:
            return self._common.samples
        kept, ignoring = self._reading.kept or [], self._reading.ignoring
        return [*kept[:1], *kept[1:][-1:], *([] if ignoring is None else [ignoring])]

    def single(self, batch: Batch, size: int, weight: float) -> "Batches":
        """One of these batches, of known size and weight, as a sequence of its own."""
        alone = Batches([batch], size=self._size, weight=self._weight)
        rows = rows_in(batch) or size
        alone._reading, alone._held = _Reading([size], [rows], [batch]), Amounts([size], [rows], [weight])
        alone._amounts[0, rows] = size, weight
        return alone

    def stored_as(self, batches: Sequence[Batch]) -> "Batches":
        """The same data with its batches of some weight stored in another way, such as on another device."""
        twin = copy.copy(self)
        twin._copies, twin._room = {}, -1
        twin._source, twin._loader_here = [], None
        twin._held = self._held.counting()
        twin._reading = replace(self._reading, sizes=twin._held.sizes, rows=twin._held.rows, kept=batches)
        return twin

    @cached_property
    def whole(self) -> "Batches":
        """The batches of all processes in each of them, for what a process computes by itself."""
        if self.group.alone:
            return self
        if not self._is_own:
            twin = copy.copy(self)
            twin.group, twin._division, twin._copies, twin._room = ALONE, None, {}, -1
            twin._loader_here = None
            return twin
        with self.group.together("exchange of all batches"):
            own = [_sendable(batch) for _, batch in self.here()]
        everything = [batch for part in self.group.gathered(own) for batch in part]
        return Batches(everything, size=self._size, weight=self._weight)

    @cached_property
    def sample(self) -> "Batches":
        """A fixed random part in a random order, in whole batches; see :meth:`Objective.recalibrating`."""
        self.settle()
        total = sum(self.sizes)
        count = min(max(total // 2, LEAST_SAMPLE), MOST_SAMPLE, total)
        size = min(max(self.sizes), count)
        count = size * min(round(count / size), total // size)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0), device="cpu")[:count]
        with self.group.together("sample of the data"):
            drawn = (self if self._is_own else self.whole)._drawn(order)
        parts = self.group.gathered(drawn) if self._is_own else [drawn]
        forms = [part.form for part in parts if part is not None and part.form is not None]
        if None in parts or any(form != forms[0] for form in forms):
            return self._sampled_whole(count)
        rows = {index: row for part in parts if part is not None for index, row in part.rows.items()}
        batches = [joined([rows[index] for index in few.tolist()]) for few in torch.split(order, size)]
        return Batches(batches, size=self._size, group=self.group)

    def _drawn(self, order: Tensor) -> "_Rows | None":
        """The examples of these numbers that this process visits; ``None`` if batches cannot be regrouped."""
        rows, form = dict[int, Batch](), None
        start = sum(self.sizes[: self.division.here.start])
        for examples, batch in self.here():
            form = form_of(batch) if form is None else form
            if rows_in(batch) != examples or form_of(batch) != form:
                return None
            here = order[(order >= start) & (order < start + examples)]
            drawn = rows_of(batch, here - start)  # a copy, so that the rest of the batch need not stay
            each = (example(drawn, k) for k in range(len(here)))
            rows |= dict(zip(here.tolist(), map(_sendable, each) if self._is_own else each, strict=True))
            start += examples
        return _Rows(form, rows)

    def _sampled_whole(self, count: int) -> "Batches":
        """Whole batches with at least ``count`` examples, for batches that cannot be regrouped."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0), device="cpu").tolist()
        totals = itertools.accumulate(self.sizes[index] for index in order)
        kept = set(order[: 1 + sum(total < count for total in totals)])
        with self.group.together("sample of the batches"):
            source = self if self._is_own else self.whole
            numbers = zip(source.division.here, source.here(), strict=True)
            drawn = [_sendable(batch) if self._is_own else batch for k, (_, batch) in numbers if k in kept]
        parts = self.group.gathered(drawn) if self._is_own else [drawn]
        return Batches([batch for part in parts for batch in part], size=self._size, group=self.group)

    @cached_property
    def _held(self) -> Amounts:
        """Those of all batches that this process holds."""
        sizes = self._reading.sizes
        if self._weight is None:
            return Amounts(sizes, self._reading.rows, [float(size) for size in sizes])
        return Amounts(
            sizes, self._reading.rows, [float(self._weight(batch)) for batch in self._everything()]
        )

    def _everything(self) -> Iterable[Batch]:
        kept = self._reading.kept
        return self._prepared(undisturbed(self._source)) if kept is None else kept

    def _prepared(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        return batches if self._prepare is None else map(self._prepare, batches)

    @cached_property
    def _reading(self) -> "_Reading":
        self._refuse_random_examples()
        sizes, rows, total, content = list[int](), list[int](), 0, Content()
        kept: list[Batch] | None = []
        ignoring: Batch | None = None
        for index, source in enumerate(undisturbed(self._source)):
            batch = source if self._prepare is None else self._prepare(source)
            tensors = list(tensors_in(batch))
            for tensor in tensors:
                _refuse_unusable(tensor, index)
            labels = [tensor for tensor in tensors if tensor.dtype is torch.int64]
            if ignoring is None and any(bool((tensor == IGNORED).any()) for tensor in labels):
                ignoring = batch
            sizes.append(self._size(batch))
            rows.append(rows_in(batch) or sizes[-1])
            content.add(source)  # here, because data that are not kept would have to be read once more
            total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            if kept is not None:
                kept.append(batch)
                if total > KEPT_BYTES and isinstance(self._source, DataLoader):
                    _refuse_shuffling(self._source, total)
                    kept = None
        if sum(sizes) == 0:
            raise InputError("the data set is empty: there is nothing to average over")
        return _Reading(sizes, rows, kept, content, ignoring)

    def _refuse_random_examples(self) -> None:
        """Two readings of the first example must agree: with a random augmentation the loss is no function of θ."""
        if not isinstance(self._source, DataLoader) or isinstance(self._source.dataset, IterableDataset):
            return
        data = self._source.dataset
        if len(data) == 0:  # type: ignore[arg-type]
            raise InputError("the data set is empty: there is nothing to average over")
        with private_randomness(), loading(self._source):
            first, second = (list(tensors_in(data[0])) for _ in range(2))
        if any(not torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            raise InputError(
                "the data set is random: two readings of example 0 differ (an augmentation?); "
                "measure on the data without random transforms"
            )


def _sendable(batch: Batch) -> Batch:
    """The batch on the CPU in memory of its own: a view would be sent with all the memory that it is a view of."""
    return copied(mapped(batch, Tensor.cpu))


class _Rows(NamedTuple):
    """Single examples by their numbers, and the form of the batches that they are from."""

    form: list[object] | None
    rows: dict[int, Batch]


@dataclass(frozen=True)
class _Common:
    """What all processes know of batches that each holds a part of: some of them, and the hash of all."""

    leading: list[tuple[int, Batch]]
    samples: list[Batch]
    content: str | None


@dataclass(frozen=True)
class _Reading:
    """The result of reading the data once; ``ignoring`` is a batch with labels of −100."""

    sizes: list[int]
    rows: list[int]
    kept: Sequence[Batch] | None
    content: "Content | None" = None
    ignoring: Batch | None = None


def _refuse_unusable(tensor: Tensor, index: int) -> None:
    where, shape = f"batch {index} of the data", tuple(tensor.shape)
    if tensor.is_meta:
        raise InputError(
            f"{where} is on the meta device: a tensor of shape {shape} without values; load the data"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise InputError(
            f"{where} holds {bad} values that are NaN or infinite (tensor of shape {shape}); remove or repair those "
            "examples"
        )


def _refuse_shuffling(loader: DataLoader[Any], size: int) -> None:
    if not isinstance(loader.sampler, SequentialSampler):
        raise InputError(
            f"the DataLoader draws its examples with {type(loader.sampler).__name__} and holds more than "
            f"{size / 2**30:.1f} GiB, too much to keep; pass one with shuffle=False"
        )


def room_on(device: torch.device) -> int:
    """Bytes that batches may take on a device."""
    return KEPT_BYTES if device.type == "cpu" else available_bytes(device) // DEVICE_SHARE
