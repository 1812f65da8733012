"""How the coordinates of θ are divided over processes: the sums over them, and random vectors.

Where they are, every process has its part of every vector ``(n,)``: of each parameter tensor the coordinates that
:meth:`landscape.processes.group.Group.share` names. All processes make the same calls in the same order.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from landscape import reductions
from landscape.draws import Rows
from landscape.errors import InputError, UsageError
from landscape.objective.gathering import Gathering, largest_module, use_parts
from landscape.objective.weights import deep_copy
from landscape.parameters import Entry, Layout
from landscape.processes import Processes
from landscape.processes.group import ALONE, Group

Read = Callable[[str, int, int], Tensor]
"""Reads the flat coordinates of a parameter, by its name, from the second argument up to the third."""


class Sharded(NamedTuple):
    """That the weights are divided over processes, and how they are read if the network comes without values."""

    group: Group
    read: Read | None = None


def sharding(shard_weights: bool | Read, group: Group, processes: Processes, products: str) -> Sharded | None:
    """How the weights are divided; ``None`` if this process has all of them.

    Raises:
        UsageError: They cannot be divided with these arguments.
    """
    if shard_weights is False or (shard_weights is True and group.alone):
        return None
    if processes == "own":
        raise UsageError(
            "shard_weights needs processes='split': all processes pass their parts of the weights through the same data"
        )
    if products == "forward-over-reverse":
        raise UsageError(
            "products='forward-over-reverse' is not possible with shard_weights, whose weights are gathered again for "
            "a backward pass; use products='double-backward'"
        )
    return Sharded(group, None if shard_weights is True else shard_weights)


@dataclass(frozen=True)
class Shards:
    """What this process holds of the vectors of a network.

    Attributes:
        whole: The parameters as they are without division.
        group: The processes that divide them.
        gathering: How weights are gathered; ``None`` if this process has all of them as they are.
        ranges: The coordinates in θ of what is held here, in order; ``None`` for all.
    """

    whole: Layout
    group: Group = ALONE
    gathering: Gathering | None = None
    ranges: tuple[range, ...] | None = None

    @property
    def layout(self) -> Layout:
        """The names and places of what is held here of every parameter, which is flat if weights are divided."""
        if self.ranges is None:
            return self.whole
        entries, offset = list[Entry](), 0
        for entry, part in zip(self.whole.entries, self.ranges, strict=True):
            size = len(part)
            entries.append(dataclasses.replace(entry, shape=(size,), offset=offset, size=size))
            offset += size
        return Layout(tuple(entries))

    def held(self, number: int) -> slice:
        """The coordinates of a parameter tensor that are held here."""
        entry = self.whole.entries[number]
        if self.ranges is None:
            return slice(0, entry.size)
        part = self.ranges[number]
        return slice(part.start - entry.offset, part.stop - entry.offset)

    def block(self, number: int) -> tuple[int, tuple[range, ...] | None]:
        """The size of a parameter tensor, and which of its coordinates are held here; ``None`` for all."""
        part = self.held(number)
        return self.whole.entries[number].size, None if self.ranges is None else (
            range(part.start, part.stop),
        )

    def gathered(self, number: int, part: Tensor) -> Tensor:
        """All coordinates ``(size,)`` of the part of a vector that belongs to a parameter tensor."""
        return part if self.ranges is None else self.group.whole(part, self.whole.entries[number].size)

    def in_turn(self, vector: Tensor) -> Iterator[Tensor]:
        """A vector ``(n,)`` from its parts, one parameter tensor at a time where it is divided."""
        if self.ranges is None:
            yield vector
            return
        for number, entry in enumerate(self.layout.entries):
            yield self.gathered(number, vector[entry.offset : entry.offset + entry.size])

    def named(self, names: Sequence[str]) -> "Shards":
        """The same with other names of the parameters."""
        pairs = zip(self.whole.entries, names, strict=True)
        entries = tuple(dataclasses.replace(entry, name=name) for entry, name in pairs)
        return dataclasses.replace(self, whole=Layout(entries))

    def total(self, values: Tensor) -> Tensor:
        """The sums of some numbers over the processes, the same bits in each."""
        if self.group.alone:
            return values
        sums = values.clone()
        self.group.add([sums])
        return sums

    def mean(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The means of some numbers over the processes, the same bits in each."""
        if self.group.alone or not values:
            return list(values)
        sums = [each.clone() for each in values]
        self.group.add(sums)
        return [each.div_(self.group.world) for each in sums]

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """The inner product of two vectors as ``()``, or of the columns of two matrices as ``(K,)``."""
        return self.total(reductions.dot(a, b))

    def norm(self, vector: Tensor) -> Tensor:
        """‖vector‖₂ as ``()``."""
        size = reductions.norm(vector)
        # Without a detour through the square, which could overflow, where there is nothing to add.
        return size if self.group.alone else self.total(size.square()).sqrt()

    def largest(self, vector: Tensor) -> Tensor:
        """The entry of largest magnitude, of equal ones the first, as ``()``."""
        here = vector[vector.abs().argmax()] if len(vector) else vector.new_zeros(())
        if self.group.alone:
            return here
        entries = self.group.gathered(float(here))
        return vector.new_tensor(max(entries, key=abs))

    def drawn(self, draw: Callable[..., Tensor], rows: Rows, *, like: Tensor) -> Tensor:
        """Random vectors ``(rows, n)`` as far as they are held here; they do not depend on the division."""
        if self.ranges is None:
            return draw(rows, self.whole.dimension, like=like)
        parts = [draw(rows, len(part), first=part.start, like=like) for part in self.ranges if part]
        return torch.cat(parts, dim=1) if parts else draw(rows, 0, like=like)

    def all(self, value: bool) -> bool:
        """Whether something holds in every process."""
        return value if self.group.alone else not self.group.any(not value)

    def saving(self) -> AbstractContextManager[object]:
        """The context of passes that are differentiated, in which autograd saves no gathered weight."""
        return contextlib.nullcontext() if self.gathering is None else self.gathering.dropping()

    def release(self) -> None:
        """Drops gathered weights, after the parts have got other values."""
        if self.gathering is not None:
            self.gathering.release(moved=True)


def sharded_network(
    model: nn.Module,
    free: Layout,
    group: Group,
    read: Read | None = None,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[nn.Module, Tensor, Shards]:
    """A copy of a network that holds a part of every weight, the vector ``(nᵣ,)`` of its free ones, and the division.

    Args:
        model: The network; without values, on the meta device, if they are read.
        free: Its free parameters.
        group: The processes.
        read: Reads a part of a parameter; by default it is taken from the network.
        device: Where the parts are held.
        dtype: Their precision.

    Raises:
        InputError: The network cannot be copied, or has a buffer without values.
    """
    empty = next((name for name, buffer in model.named_buffers() if buffer.is_meta), None)
    if empty is not None:
        raise InputError(
            f"the buffer '{empty}' of {type(model).__name__} is on the meta device: load it first"
        )
    ranges = []
    for entry in free.entries:
        share = group.share(entry.size)
        ranges.append(range(entry.offset + share.start, entry.offset + share.stop))
    gathering = Gathering(group)
    shards = Shards(free, group, gathering, tuple(ranges))
    vector = torch.empty(shards.layout.dimension, device=device, dtype=dtype)
    views = shards.layout.named(vector)
    memo, parts = dict[int, object](), dict[int, nn.Parameter]()
    for name, parameter in model.named_parameters():
        share = group.share(parameter.numel())
        values = (
            parameter.detach().reshape(-1)[share.start : share.stop]
            if read is None
            else read(name, share.start, share.stop)
        )
        if name in views:
            part = views[name].copy_(values)
        else:
            kind = dtype if parameter.is_floating_point() else parameter.dtype  # integers stay integers
            part = values.to(device=device, dtype=kind, copy=True)
        shape = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        memo[id(parameter)], parts[id(shape)] = shape, nn.Parameter(part, requires_grad=False)
    own = deep_copy(model, memo)
    use_parts(own, parts, gathering)
    return own, vector, shards


def shortage(model: nn.Module, shards: Shards, examples: int, reason: str) -> str:
    """What a process says that ran out of memory while the others wait for it."""
    held = sum(part.nbytes for part in model.parameters()) / 2**30
    gathered = largest_module(model) / 2**30
    return (
        f"out of memory at {examples} examples in process {shards.group.rank} of {shards.group.world}, and those that "
        f"share the weights cannot go on alone ({reason.splitlines()[0][:80]}): {held:.3g} GiB of weights are held "
        f"here, and up to {gathered:.3g} GiB of one module are gathered; try fewer examples at once "
        f"(micro_batch={max(1, examples // 2)}) or more processes"
    )
