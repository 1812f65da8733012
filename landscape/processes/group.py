"""The processes that compute one number together, and everything that they exchange.

Every process runs the same program on the same numbers, and each visits its own part of the data. So they differ only
where data are summed, and all of them call the methods of a group in the same order. A process that failed says so
instead of its numbers, because the others would wait for it for ever.
"""

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from landscape.errors import InputError, OutOfMemory, ProcessFailed, UsageError, is_out_of_memory
from landscape.processes.launch import Processes, refuse_undivided

T = TypeVar("T")
_KINDS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (UsageError, InputError, OutOfMemory)}

# What the processes say to each other whenever they meet. It has one length, so that a process that failed can meet
# another one anywhere: whether it failed, the hash of what it computes, its counts, and its numbers.
_COUNTS, _NUMBERS = 4, 2
_HASHES = 1 << 20  # few enough that sums of their squares are exact in float64
# Of the variance of a number over the processes, relative to its square: their processors may round differently.
_SAME = 1e-12
_AGREED = "_is_raised_in_all_processes"

_STORES: Any = dist  # newer versions of torch warn of the names that older ones have
_GATHER: Any = getattr(_STORES, "all_gather_single", None) or getattr(_STORES, "all_gather_into_tensor", None)
_SCATTER: Any = getattr(_STORES, "reduce_scatter_single", None) or getattr(
    _STORES, "reduce_scatter_tensor", None
)

# Bytes from which gloo gathers by broadcasts in a fifth of the time, and adds all in half or a quarter of the time that
# it takes to add and scatter: measured with two and three processes on one machine.
_LARGE = 1 << 20


@dataclass(frozen=True)
class Group:
    """The processes of a ``torch.distributed`` process group; by default this process alone.

    Attributes:
        rank: The number of this process.
        world: How many there are.
        members: torch's handle of the group; ``None`` for its default group.
    """

    rank: int = 0
    world: int = 1
    members: Any = None

    @property
    def alone(self) -> bool:
        """Whether there is one process, so that nothing is exchanged."""
        return self.world == 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces every tensor by its sum over all processes, in one exchange a data type; all end with equal bits."""
        if self.alone:
            return
        for alike in _by_type(tensors):
            packed = torch.cat([tensor.reshape(-1) for tensor in alike])
            with self._complete():
                there = packed.to(self._place(packed.device))
                dist.all_reduce(there, group=self.members)
            parts = torch.split(there, [tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def joined(self, rows: Tensor) -> Tensor:
        """The rows ``(kᵣ, …)`` of all processes, one process after the other: ``(Σ kᵣ, …)``."""
        if self.alone:
            return rows
        parts = self.gathered(rows.detach().cpu())
        return torch.cat(parts).to(rows.device)

    def share(self, size: int) -> range:
        """Which coordinates of a divided tensor ``(size,)`` this process holds: the next ⌈size/W⌉, or what is left."""
        block = -(-size // self.world)
        return range(min(self.rank * block, size), min((self.rank + 1) * block, size))

    def whole(self, part: Tensor, size: int) -> Tensor:
        """The tensor ``(size,)`` of which every process holds its :meth:`share`, in memory of its own."""
        if self.alone:
            return part.clone()
        place = self._place(part.device)
        with self._complete():
            if self._by_blocks(size * part.itemsize, place):
                everything = torch.empty(size, dtype=part.dtype, device=place)
                everything[self._block(self.rank, size)] = part
                sent = [everything[self._block(rank, size)] for rank in range(self.world)]
                pending: list[Any] = [
                    dist.broadcast(block, group_src=rank, group=self.members, async_op=True)
                    for rank, block in enumerate(sent)
                    if len(block)
                ]
                for each in pending:
                    each.wait()
            else:
                padded = _padded(part.to(place), -(-size // self.world))
                everything = torch.empty(len(padded) * self.world, dtype=part.dtype, device=place)
                _GATHER(everything, padded, group=self.members)
        return everything[:size].to(part.device)

    def mean_share(self, tensor: Tensor) -> Tensor:
        """This process's :meth:`share` of the mean over the processes of tensors ``(size,)``."""
        if self.alone:
            return tensor
        size, place = len(tensor), self._place(tensor.device)
        with self._complete():
            if self._by_blocks(tensor.nbytes, place):
                sums = tensor.to(place, copy=True)
                dist.all_reduce(sums, group=self.members)
                part = sums[self._block(self.rank, size)].clone()
            else:
                length = -(-size // self.world)
                part = torch.empty(length, dtype=tensor.dtype, device=place)
                _SCATTER(part, _padded(tensor.to(place), length * self.world), group=self.members)
                part = part[: len(self.share(size))]
        return part.div_(self.world).to(tensor.device)

    def _block(self, rank: int, size: int) -> slice:
        share = replace(self, rank=rank).share(size)
        return slice(share.start, share.stop)

    def _by_blocks(self, size: int, place: torch.device) -> bool:
        """Whether a large tensor is exchanged in the ways in which gloo is several times as fast."""
        return place.type == "cpu" and size >= _LARGE

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in their order; anything that can be pickled."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.world
        with self._complete():
            dist.all_gather_object(values, value, group=self.members)
        return values

    def decided(self, value: T, *, by: int = 0) -> T:
        """The value of one process, by default the first, for a decision that has to be the same in all."""
        if self.alone:
            return value
        values = [value]
        with self._complete():
            dist.broadcast_object_list(values, group_src=by, group=self.members)
        return values[0]

    def once(self, work: Callable[[], T], *, by: int = 0, call: str = "") -> T:
        """What ``work`` returns in one process, by default the first, which alone does it; the others get the result.

        Args:
            work: Such as the reading of a file; what it raises is raised in all processes.
            by: Which process does it.
            call: As for :meth:`together`.
        """
        results: list[Any] = [None]
        with self.together(call):
            if self.rank == by:
                results = [work()]
        result: T = self.decided(results[0], by=by)
        return result

    def any(self, value: bool) -> bool:
        """Whether a value is true in any of the processes."""
        return value if self.alone else self.agree(None, counts=[float(value)])[0] > 0

    @contextlib.contextmanager
    def together(self, call: str = "") -> Iterator[None]:
        """A context: what is raised in one process is raised in all of them at its end.

        Inside, processes may exchange something in contexts like this one, and otherwise only where none can fail.

        Args:
            call: What is computed inside, if the processes may be at different places; see :meth:`agree`.

        Raises:
            UsageError, InputError, OutOfMemory: Another process raised it, and this one nothing.
            ProcessFailed: Another process raised anything else.
        """
        if self.alone:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except Exception as raised:
            failure = raised
        self.agree(failure, call=call)

    def agree(
        self,
        failure: Exception | None,
        *,
        call: str = "",
        numbers: Mapping[str, float] | None = None,
        counts: Sequence[float] = (),
    ) -> list[float]:
        """Raises the failure of this process, or else that of another one, if there is any; see :meth:`together`.

        Args:
            failure: What this process has raised.
            call: What it computes: the same in all processes.
            numbers: At most two numbers that are the same in all processes, with their names.
            counts: At most four numbers.

        Returns:
            The sums of the counts over all processes.

        Raises:
            UsageError: The processes compute different things, or differ in a number.
        """
        if self.alone:
            if failure is not None:
                raise failure
            return list(counts)
        if failure is not None and _is_agreed(failure):
            raise failure  # the others have raised it too, and do not wait for this process
        named = numbers or {}
        failed, calls, sums, pairs = self._met(failure is not None, call, list(named.values()), counts)
        if failed:
            self._raise(failure)
        if self._differ(*calls, exact=True):
            self._refuse_different(self.gathered(call))
        for (name, value), pair in zip(named.items(), pairs, strict=False):
            if self._differ(*pair, exact=False):
                values = ", ".join(
                    f"{each:.9g} in process {rank}" for rank, each in enumerate(self.gathered(value))
                )
                raise _agreed(
                    UsageError(
                        f"{call}: {name} is not the same in all processes ({values}): all of them have to compute with "
                        "equal numbers, and differ in their data alone"
                    )
                )
        return sums[: len(counts)]

    def _met(
        self, failed: bool, call: str, numbers: Sequence[float], counts: Sequence[float]
    ) -> tuple[bool, tuple[float, float], list[float], list[tuple[float, float]]]:
        """What all processes say, summed: whether any failed, a hash and its square, counts, numbers and squares."""
        code = float(zlib.crc32(call.encode()) % _HASHES)
        finite = [number if math.isfinite(number) else -1.0 for number in numbers]
        finite += [0.0] * (_NUMBERS - len(finite))
        words = [float(failed), code, code**2, *counts, *[0.0] * (_COUNTS - len(counts))]
        words += [word for number in finite for word in (number, number**2)]
        packed = torch.tensor(words, dtype=torch.float64, device="cpu")
        self.add([packed])
        total, first = packed.tolist(), 3 + _COUNTS
        pairs = [(total[k], total[k + 1]) for k in range(first, first + 2 * _NUMBERS, 2)]
        return total[0] > 0, (total[1], total[2]), total[3:first], pairs

    def _differ(self, total: float, squares: float, *, exact: bool) -> bool:
        """Whether numbers with this sum and sum of squares are not all the same."""
        spread = self.world * squares - total**2
        return spread != 0 if exact else spread > _SAME * self.world * squares

    def _raise(self, failure: Exception | None) -> None:
        failures = self.gathered(None if failure is None else _described(failure))
        if failure is not None:
            raise _agreed(failure)
        rank, description = next((k, each) for k, each in enumerate(failures) if each is not None)
        raise _agreed(_revived(rank, self.world, *description))

    def _refuse_different(self, calls: Sequence[str]) -> None:
        here = "; ".join(f"process {rank}: {call or 'something else'}" for rank, call in enumerate(calls))
        raise _agreed(
            UsageError(
                f"the processes compute different things at the same time ({here}): every process has to make the same "
                "calls in the same order, also where only one prints"
            )
        )

    def _place(self, device: torch.device) -> torch.device:
        """Where tensors of a device have to be for an exchange: the backend of a group may know one kind alone."""
        group: Any = self.members or dist.group.WORLD
        kinds = [kind for kind in group._device_types if kind.type == device.type]
        return device if kinds else torch.device(next(iter(group._device_types)))

    @contextlib.contextmanager
    def _complete(self) -> Iterator[None]:
        """Turns what a backend raises when a process is gone into one sentence."""
        try:
            yield
        except RuntimeError as failure:
            if is_out_of_memory(failure):
                raise
            raise ProcessFailed(
                f"process {self.rank} of {self.world} lost another one, which was ended or does not answer "
                f"({str(failure).strip().splitlines()[0][:200]})"
            ) from failure


ALONE = Group()


def current_group() -> Group:
    """The default process group of torch, if it is initialised and has several processes; else this process alone."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return Group(dist.get_rank(), dist.get_world_size())
    return ALONE


def group_for(processes: Processes) -> Group:
    """The group of an objective with this argument.

    Raises:
        UsageError: There are several processes, and it is not said how they divide the data; or they have no group.
    """
    refuse_undivided(processes)
    return ALONE if processes in (None, "alone") else current_group()


def _padded(tensor: Tensor, length: int) -> Tensor:
    """The tensor ``(k,)`` with zeros up to a length, because backends exchange parts of one length."""
    if len(tensor) == length:
        return tensor
    padded = tensor.new_zeros(length)
    padded[: len(tensor)] = tensor
    return padded


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    kinds: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(kinds.values())


def _agreed(failure: Exception) -> Exception:
    """The failure, marked as one that all processes raise."""
    setattr(failure, _AGREED, True)
    return failure


def _is_agreed(failure: BaseException | None) -> bool:
    """Whether a failure, or what it was made of, is one that all processes raise."""
    while failure is not None:
        if getattr(failure, _AGREED, False):
            return True
        failure = failure.__cause__
    return False


def _described(failure: Exception) -> tuple[str, str]:
    kind = next((name for name, kind in _KINDS.items() if isinstance(failure, kind)), type(failure).__name__)
    return ("OutOfMemory" if is_out_of_memory(failure) else kind), str(failure)


def _revived(rank: int, world: int, kind: str, words: str) -> Exception:
    place = f"process {rank} of {world}"
    if kind in _KINDS:
        return _KINDS[kind](f"{place}: {words}")
    return ProcessFailed(f"{place} failed ({kind}: {words})" if words else f"{place} failed ({kind})")
