"""How the work on one data set is done, and how much was done: options, graphs that are kept, counts.

One engine belongs to one replica, at all of its points and for all of its batches. Nothing in it changes a number by
more than rounding.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, get_args

from torch import Tensor

from landscape.errors import UsageError
from landscape.objective.memory import available_bytes, saved_for_backward
from landscape.objective.micro_batches import MicroBatches
from landscape.objective.recomputed_blocks import Recomputation
from landscape.objective.replica import Replica
from landscape.objective.shards import Shards

G = TypeVar("G")
Products = Literal["auto", "double-backward", "forward-over-reverse"]
Statistics = Mapping[str, Tensor]
"""Batch-norm statistics by the names of their buffers."""

KINDS = ("gradients", "products", "evaluations")

COLUMNS = 8  # of a product, which build a graph that is not kept once instead of 8 times
FEW_BYTES = 1 << 22  # for columns that a product takes at once, which saves calls
SHARE = 0.5  # of the memory that is left with a graph in place: a larger one is not kept


def allowed_products(products: Products) -> Products:
    """The kind of product, checked."""
    if products in get_args(Products):
        return products
    raise UsageError(f"products={products!r} is not one of {', '.join(get_args(Products))}")


class Ledger:
    """Work done so far on one data set, counted in examples so that fractions of a pass add up exactly.

    Attributes:
        counts: Example visits by kind: ``gradients``, ``products``, ``evaluations``; those of all processes.
        total: Examples in one pass over all the data.
        listener: Called with the progress of a long computation: a short text, and the fraction done, which is
            ``None`` if it is not known.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._common: Counter[str] = Counter()
        self.total = 0
        self.listener: Callable[[str, float | None], None] | None = None

    def tell(self, words: str, fraction: float | None) -> None:
        """Reports progress to the listener, if there is one."""
        if self.listener is not None:
            self.listener(words, fraction)

    def own(self) -> list[float]:
        """The work that this process alone has counted since :meth:`join`, by kind."""
        return [float(self.counts[kind] - self._common[kind]) for kind in KINDS]

    def join(self, work: Sequence[float]) -> None:
        """Takes over the work that all processes together have counted since the last time."""
        self._common.update({kind: round(amount) for kind, amount in zip(KINDS, work, strict=True)})
        self.counts = Counter(self._common)

    def passes(self) -> dict[str, float]:
        """The work done, in passes over all the data."""
        return {kind: self.counts[kind] / (self.total or 1) for kind in KINDS}


class KeptGraphs(Generic[G]):
    """Graphs of micro-batches at one point, kept from one vector to the next as far as memory allows.

    Power iteration and Lanczos visit every micro-batch with one vector after the other. A graph that is still there
    saves a third of the product. All graphs are dropped when the network moves.
    """

    def __init__(self) -> None:
        self.share = SHARE
        self._kept: dict[Hashable, G] = {}
        self._sizes: dict[Hashable, int | None] = {}
        self._place: tuple[int, object] = (-1, None)
        self._lost: int | None = None  # bytes of the largest graph at this point that was not kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def largest(self) -> int | None:
        """Bytes of the largest graph that was measured; ``None`` if none could be."""
        return max((size for size in self._sizes.values() if size is not None), default=None)

    def columns(self, vector: int) -> int:
        """How many columns of so many bytes a product had best take at once: few of large ones where graphs are kept.

        As many as take, with their images, no more memory than :data:`FEW_BYTES`, or a graph that is not kept.
        """
        room = max(FEW_BYTES, self._lost or 0)
        return max(1, min(COLUMNS, room // max(1, 2 * vector)))

    def enter(self, moves: int, batches: object) -> None:
        """Drops all graphs if the network has moved or the data are different."""
        if self._place[0] != moves or self._place[1] is not batches:
            self._kept.clear()
            self._place, self._lost = (moves, batches), None

    def shrink(self) -> bool:
        """Drops all graphs and keeps half as much from now on; returns whether there were any."""
        any_kept = bool(self._kept)
        self._kept.clear()
        self.share /= 2
        return any_kept

    def graph(
        self,
        key: tuple[Hashable, int, int],
        build: Callable[[], G],
        book: Callable[[], None],
        parameter: Tensor,
        shards: Shards | None = None,
    ) -> tuple[G, bool]:
        """The graph of a micro-batch, built (and booked) if it is not kept, and whether it is kept now.

        Args:
            key: Kind of graph, first example, number of examples. Equal kinds and numbers take equal memory.
            build: Builds the graph.
            book: Counts the work of building it.
            parameter: A tensor whose storage is not part of the graph: that of the parameters.
            shards: How the weights are divided over processes, which all keep the graph or none.
        """
        if key in self._kept:
            return self._kept[key], True
        book()
        alike = key[0], key[2]
        # Counting every saved tensor takes time, so that only the first graph of each size is measured.
        known = alike in self._sizes
        try:
            kept = None if shards is None else shards.gathering
            with (
                contextlib.nullcontext()
                if known
                else saved_for_backward(besides=parameter, kept=kept) as saved
            ):
                graph = build()
            if saved is not None:
                self._sizes[alike] = saved.bytes
        except RuntimeError as failure:
            # torch.func in a forward pass forbids the hooks that count.
            if "saved tensor hooks" not in str(failure):
                raise
            self._sizes[alike] = None
            graph = build()
        size = self._sizes[alike]
        keep = size is not None and size <= self.share * available_bytes(parameter.device)
        keep = keep if shards is None else shards.all(keep)
        if keep:
            self._kept[key] = graph
        else:  # of unknown size where torch forbids to count
            self._lost = max(self._lost or 0, (1 << 62) if size is None else size)
        return graph, keep


class StoredStatistics:
    """Which batch-norm statistics the layers of a replica use as stored: its own, or others for a while."""

    def __init__(self) -> None:
        self._own: Statistics = {}
        self._others: Statistics | None = None

    def own(self, replica: Replica) -> dict[str, Tensor]:
        """Copies of the replica's own statistics, whichever it uses now."""
        return replica.statistics if self._others is None else dict(self._own)

    def use(self, replica: Replica, others: Statistics | None) -> None:
        """Stores other statistics in the replica, or puts its own back for ``None``."""
        # By identity: comparing all values would cost as much as storing them.
        if others is self._others:
            return
        if self._others is None:
            self._own = replica.statistics
        replica.store(self._own if others is None else others)
        self._others = others

    def give_way(self, replica: Replica) -> None:
        """Remembers the replica's own statistics before others are computed in their place."""
        if self._others is None:
            self._own = replica.statistics
        self._others = {}  # differs from any later request, so that the next one is stored


@dataclass
class Engine:
    """How the work is done and counted, and what was seen when it was first done."""

    products: Products = "auto"
    micro: MicroBatches = field(default_factory=MicroBatches)
    ledger: Ledger = field(default_factory=Ledger)
    graphs: KeptGraphs[Any] = field(default_factory=KeptGraphs)
    statistics: StoredStatistics = field(default_factory=StoredStatistics)
    recomputation: Recomputation | None = None  # of blocks in backward passes, if it was requested
    quicker: Products | None = None  # what "auto" stands for, once it has been timed
    twice: bool = False  # whether no function of the network is known to forbid a second derivative
    confirmed: bool = False  # whether its second derivative is known to be that of its gradient
