"""The processes that compute one number together, and everything that they exchange.

Every process runs the same program on the same numbers, and each visits its own part of the data. So they differ only
where data are summed, and all of them call the methods of a group in the same order. A process that failed says so
instead of its numbers, because the others would wait for it for ever.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from landscape.errors import InputError, OutOfMemory, ProcessFailed, UsageError, is_out_of_memory

T = TypeVar("T")
_KINDS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (UsageError, InputError, OutOfMemory)}


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

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in their order; anything that can be pickled."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.world
        with self._complete():
            dist.all_gather_object(values, value, group=self.members)
        return values

    def decided(self, value: T) -> T:
        """The value of the first process, for a decision that has to be the same in all."""
        if self.alone:
            return value
        values = [value]
        with self._complete():
            dist.broadcast_object_list(values, group_src=0, group=self.members)
        return values[0]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A context without exchanges: what is raised in one process is raised in all of them at its end.

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
        self.agree(failure)

    def agree(self, failure: Exception | None) -> None:
        """Raises the failure of this process, or else that of another one, if there is any; see :meth:`together`."""
        failures = self.gathered(None if failure is None else _described(failure))
        if failure is not None:
            raise failure
        for rank, description in enumerate(failures):
            if description is not None:
                raise _revived(rank, self.world, *description)

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


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    kinds: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(kinds.values())


def _described(failure: Exception) -> tuple[str, str]:
    kind = next((name for name, kind in _KINDS.items() if isinstance(failure, kind)), type(failure).__name__)
    return ("OutOfMemory" if is_out_of_memory(failure) else kind), str(failure)


def _revived(rank: int, world: int, kind: str, words: str) -> Exception:
    place = f"process {rank} of {world}"
    if kind in _KINDS:
        return _KINDS[kind](f"{place}: {words}")
    return ProcessFailed(f"{place} failed ({kind}: {words})" if words else f"{place} failed ({kind})")
