"""Graphs that are kept from one vector to the next, as far as memory allows.

Power iteration and Lanczos visit every micro-batch with one vector after the other. A graph that is still there
saves a third of the product.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from landscape.objective.memory import available_bytes, saved_for_backward

G = TypeVar("G")

SHARE = 0.5
"""A graph is kept if it takes at most this share of the memory that is left with it in place."""


class KeptGraphs(Generic[G]):
    """Graphs of micro-batches at one point; those of another point are dropped as soon as the network moves."""

    def __init__(self) -> None:
        self.share = SHARE
        self._kept: dict[Hashable, G] = {}
        self._sizes: dict[Hashable, int | None] = {}
        self._state: tuple[int, object] = (-1, None)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def largest(self) -> int | None:
        """Bytes of the largest graph that was measured; ``None`` if none could be."""
        return max((size for size in self._sizes.values() if size is not None), default=None)

    def enter(self, moves: int, batches: object) -> None:
        """Says where the network stands and on which data; what belongs elsewhere is dropped."""
        if self._state[0] != moves or self._state[1] is not batches:
            self._kept.clear()
            self._state = (moves, batches)

    def shrink(self) -> bool:
        """Drops everything and keeps half as much from now on; returns whether there was anything to drop."""
        there = bool(self._kept)
        self._kept.clear()
        self.share /= 2
        return there

    def keeps(self, key: Hashable) -> bool:
        """Whether the graph under that key is there."""
        return key in self._kept

    def graph(
        self, key: tuple[Hashable, int, int], build: Callable[[], G], *, device: torch.device, besides: Tensor
    ) -> tuple[G, bool]:
        """The graph under that key, built if it is not there, and whether it is kept.

        Args:
            key: Kind of graph, first example, number of examples. Equal kinds and numbers take equal memory.
            build: Makes it.
            device: Where it will be.
            besides: A tensor whose storage is not part of it: the parameters.
        """
        if key in self._kept:
            return self._kept[key], True
        alike = key[0], key[2]
        if alike not in self._sizes:
            found = self._measured(alike, build, device, besides)
        else:
            found = build()
        needed = self._sizes[alike]
        keep = needed is not None and needed <= self.share * available_bytes(device)
        if keep:
            self._kept[key] = found
        return found, keep

    def _measured(self, alike: Hashable, build: Callable[[], G], device: torch.device, besides: Tensor) -> G:
        try:
            with saved_for_backward(device, besides=besides) as held:
                found = build()
        except RuntimeError as failure:
            if "saved tensor hooks" not in str(failure):  # of torch.func in a forward pass
                raise
            self._sizes[alike] = None
            return build()
        self._sizes[alike] = held.bytes
        return found
