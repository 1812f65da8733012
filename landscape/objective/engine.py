"""How the work on one data set is done: what is kept, in which pieces, by which kind of product.

None of it changes a number by more than rounding. It is shared by the risks of single batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor

from landscape.errors import UsageError
from landscape.objective.kept_graphs import KeptGraphs
from landscape.objective.micro_batches import MicroBatches
from landscape.objective.replica import Replica

Products = Literal["auto", "double-backward", "forward-over-reverse"]


class Statistics:
    """Which batch-norm statistics a replica has now: its own, or others for a while."""

    def __init__(self) -> None:
        self._own: dict[str, Tensor] = {}
        self._others: Mapping[str, Tensor] | None = None

    def use(self, replica: Replica, others: Mapping[str, Tensor] | None) -> None:
        """Stores other statistics in the replica, or gives it its own back."""
        if others is self._others:
            return
        if self._others is None:
            self._own = replica.statistics
        replica.store(self._own if others is None else others)
        self._others = others


@dataclass
class Engine:
    """How the work is done.

    Attributes:
        products: The kind of Hessian product; ``"auto"`` is double backward on the CPU and the quicker of the two
            on CUDA.
        micro: How many examples are computed at once.
        graphs: What is kept between vectors.
        quicker: What ``"auto"`` turned out to be, once it has been timed.
        twice: Whether it has been seen that no function forbids a second derivative.
        statistics: Which batch-norm statistics the network has now.
        confirmed: Whether the second derivative has been seen to be that of the gradient.
    """

    products: Products = "auto"
    micro: MicroBatches = field(default_factory=MicroBatches)
    graphs: KeptGraphs[Any] = field(default_factory=KeptGraphs)
    quicker: Products | None = None
    twice: bool = False
    confirmed: bool = False
    statistics: Statistics = field(default_factory=Statistics)


def allowed_products(products: Products) -> Products:
    """The kind of product, checked."""
    if products not in get_args(Products):
        raise UsageError(f"products={products!r} is not one of {', '.join(get_args(Products))}")
    return products
