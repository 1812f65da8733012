"""Network, loss and data together: one forward pass on one batch, and the weighted sum over all batches.

:class:`Risk` is the machine behind every :class:`landscape.objective.Objective` on the same data. It is the
only place where data is summed, where the network is moved to a point, and where work is counted.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.batches import Batch, Batches, moved
from landscape.engine import Engine
from landscape.errors import InputError, UsageError, is_out_of_memory
from landscape.isolation import preserved_randomness, without_gradients
from landscape.ledger import Ledger
from landscape.micro_batches import Piece
from landscape.replica import Replica, stochastic_modules
from landscape.shortage import make_room, settle


class BatchLoss:
    """A loss for batches that are not ``(inputs, targets)``: language models, PINNs, dictionaries.

    Args:
        fn: ``fn(model, batch)`` → scalar mean over the batch's examples.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
    """

    def __init__(
        self, fn: Callable[[nn.Module, Any], Tensor], *, size: Callable[[Any], int] | None = None
    ) -> None:
        self.fn = fn
        self.size = size


Loss = Callable[[Any, Any], Tensor] | BatchLoss
Visit = Callable[[Batch], list[Tensor]]


class WeightedSum:
    """Sums of lists of tensors, entry by entry."""

    def __init__(self) -> None:
        self.totals: list[Tensor] = []

    def add(self, parts: list[Tensor], weight: float) -> None:
        """Adds ``weight`` times the parts."""
        if not self.totals:
            self.totals = [part * weight for part in parts]
            return
        for total, part in zip(self.totals, parts, strict=True):
            total.add_(part, alpha=weight)


@dataclasses.dataclass
class Risk:
    """A network, a loss and fixed data.

    Attributes:
        replica: The private copy of the network.
        loss: What is averaged.
        batches: The data.
        ledger: Where work is booked; shared with the risks of single batches.
        engine: How the work is done; shared likewise.
        place: First example and number of examples of the micro-batch that is being visited.
    """

    replica: Replica
    loss: Loss
    batches: Batches
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    engine: Engine = dataclasses.field(default_factory=Engine)
    checked: bool = False
    place: tuple[int, int] = (0, 0)

    def on(self, batch: Batch, size: int) -> "Risk":
        """The same network and loss on one batch alone."""
        self.ledger.total = max(self.ledger.total, self.batches.num_examples)
        return dataclasses.replace(self, batches=self.batches.single(batch, size), checked=True)

    def mean(
        self,
        visit: Visit,
        *,
        at: Tensor,
        constant: bool = True,
        each: Callable[[list[Tensor]], None] | None = None,
        **counted: int,
    ) -> list[Tensor]:
        """``Σ_b (n_b/N) visit(b)`` over the data, entry by entry.

        Args:
            visit: Called with each micro-batch; returns tensors that are means over its examples.
            at: The point ``(n,)`` at which the network stands meanwhile.
            constant: Whether ``at`` is never written to by its owner.
            each: Told the means of every batch as it came from the loader; batches are not joined then.
            counted: What one visit costs, for the ledger: ``gradients=1, products=K``.

        Raises:
            OutOfMemory: Not even one example fits, or a batch that does not fit cannot be split.
        """
        self.check(at, constant=constant)
        everything = self.batches.num_examples
        self.ledger.total = max(self.ledger.total, everything)
        sum_ = WeightedSum()
        with preserved_randomness(self.replica.device):
            self.replica.move(at, constant=constant)
            self.engine.graphs.enter(self.replica.moves, self.batches)
            for piece in self.engine.micro.pieces(self.batches, join=each is None):
                parts = self._visited(visit, piece, counted)
                if each is not None:
                    each(parts)
                sum_.add(parts, piece.size / everything)
        return sum_.totals

    def book(self, **counted: int) -> None:
        """Counts work on the micro-batch that is being visited."""
        self.ledger.counts.update({kind: self.place[1] * count for kind, count in counted.items()})

    def _visited(self, visit: Visit, piece: Piece, counted: Mapping[str, int]) -> list[Tensor]:
        """``visit(piece)``, in parts where it is larger than what is computed at once."""
        pieces = self.engine.micro.split(piece)
        if len(pieces) > 1:
            sum_ = WeightedSum()
            for one in pieces:
                sum_.add(self._visited(visit, one, counted), one.size / piece.size)
            return sum_.totals
        for attempt in range(2):
            self.place = (piece.start, piece.size)
            try:
                parts = visit(moved(piece.batch, self.replica.device, self.replica.dtype))
                self.book(**counted)
                return parts
            except (RuntimeError, MemoryError) as failure:
                if not is_out_of_memory(failure):
                    raise
            # The failure, and with it every tensor that its frames held, is gone here.
            if attempt or not self.engine.graphs.shrink():
                break
        make_room(self, piece)
        return self._visited(visit, piece, counted)

    def forward(self, batch: Batch) -> tuple[Tensor, Any, Any]:
        """``(loss, outputs, targets)`` of one batch; the last two are ``None`` for a :class:`BatchLoss`."""
        if isinstance(self.loss, BatchLoss):
            loss, outputs, targets = self.loss.fn(self.replica.model, batch), None, None
        else:
            if not isinstance(batch, tuple) or len(batch) != 2:
                raise InputError(
                    f"a batch is a {type(batch).__name__}, not a pair (inputs, targets); "
                    "wrap the loss: BatchLoss(lambda model, batch: …)"
                )
            inputs, targets = batch
            outputs = self.replica.model(inputs)
            loss = self.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            seen = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the loss is not a scalar ({seen}); it must return the mean over the batch")
        return loss, outputs, targets

    def check(self, point: Tensor, *, constant: bool) -> None:
        """Once: the model can be applied to the data, and two evaluations of the first batch agree."""
        if self.checked:
            return
        size, batch = next(iter(self.batches))
        losses = []

        def visit(part: Batch) -> list[Tensor]:
            try:
                return [self.forward(part)[0].double()]
            except (UsageError, InputError):
                raise
            except (RuntimeError, ValueError, TypeError, IndexError) as failure:
                if is_out_of_memory(failure):
                    raise
                raise InputError(_misfit(self.replica.model, part, failure)) from failure

        with preserved_randomness(self.replica.device), without_gradients():
            self.replica.move(point, constant=constant)
            for seed in (0, 1):
                torch.manual_seed(seed)
                losses.append(float(self._visited(visit, Piece(batch, 0, size), {})[0]))
        a, b = losses
        if not (a == b or abs(a - b) <= 1e-5 * abs(a) or (a != a and b != b)):
            active = ", ".join(stochastic_modules(self.replica.model)[:3])
            raise InputError(
                f"the model is random: two evaluations of the first batch give {a:.6g} and {b:.6g}; random "
                f"part: {active or 'a function in its forward pass, such as F.dropout'}; switch it off "
                "(model.eval(), and F.dropout(…, training=self.training)) before measuring"
            )
        self.checked = True
        settle(self, Piece(batch, 0, size))


def correct(outputs: Any, targets: Any) -> list[Tensor]:
    """``[fraction right]`` if outputs are class scores ``(B, C)`` and targets class numbers, else ``[]``."""
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return []
    if outputs.ndim != 2 or outputs.shape[1] < 2 or targets.ndim != 1 or targets.is_floating_point():
        return []
    return [(outputs.argmax(dim=1) == targets).double().mean()]


def _misfit(model: nn.Module, batch: Batch, failure: Exception) -> str:
    shapes = []
    if isinstance(batch, tuple) and len(batch) == 2:
        for part, name in zip(batch, ("inputs", "targets"), strict=True):
            if isinstance(part, Tensor) and part.numel():
                bounds = f", values {part.min().item():.4g} to {part.max().item():.4g}"
                shapes.append(f"{name} {tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}{bounds}")
    reason = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    seen = f" ({'; '.join(shapes)})" if shapes else ""
    return f"{type(model).__name__} cannot be evaluated on this data{seen}: {reason}"
