"""Network, loss and data together: one forward pass on one batch, and the weighted sum over all batches.

:class:`Risk` is the machine behind every :class:`landscape.objective.Objective` on the same data. It is the
only place where data is summed, where the network is moved to a point, and where work is counted.
"""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError, UsageError, is_out_of_memory
from landscape.isolation import private_randomness, without_gradients
from landscape.objective.batch_norm import recalibrate
from landscape.objective.batches import Batch, Batches, copied, mapped, moved, rows_in, rows_of, versions
from landscape.objective.engine import Engine
from landscape.objective.first_look import first_look
from landscape.objective.independence import Independence, examined
from landscape.objective.ledger import Ledger
from landscape.objective.loss_functions import BatchLoss, LabelWeights, Loss, in_float64, label_weights
from landscape.objective.micro_batches import Piece
from landscape.objective.outputs import applied, labelled, scores, wants_scores
from landscape.objective.replica import Replica
from landscape.objective.shortage import make_room, settle

__all__ = ["BatchLoss", "Loss", "Risk", "Visit", "WeightedSum"]

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
        place: First row and number of rows of the micro-batch that is being visited.
        size: Its number of examples.
        weight: What its mean is divided by.
        calibration: What batch-norm statistics are recomputed from at every point; ``None`` leaves them.
        checked: Whether network and data are known to go together.
        differentiates: Whether the loss itself takes derivatives, so that it needs autograd even for its value.
        writes_inputs: Whether network or loss write to the batch in place, so that every forward pass gets a copy.
        underived: Why derivatives would be wrong: autograd does not see what the loss depends on; empty if it does.
        draws: Whether the network draws from the global generators of random numbers, though its loss does not depend
            on what it draws. Then threads that measure such networks wait for each other.
        notes: What had to be done to the network's outputs or for a second derivative, a line each.
        independent: Whether a batch can be taken apart, once that has been looked at.
    """

    replica: Replica
    loss: Loss
    batches: Batches
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    engine: Engine = dataclasses.field(default_factory=Engine)
    place: tuple[int, int] = (0, 0)
    size: int = 0
    weight: float = 1.0
    calibration: Batches | None = None
    checked: bool = False
    differentiates: bool = False
    writes_inputs: bool = False
    underived: str = ""
    draws: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)
    independent: Independence | None = None

    @property
    def content(self) -> str | None:
        """The hash of what the examples hold, and of those from which batch-norm statistics are taken."""
        if self.calibration is None or self.calibration is self.batches:
            return self.batches.content
        parts = (self.batches.content, self.calibration.content)
        return None if None in parts else ":".join(map(str, parts))

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
        statistics: Mapping[str, Tensor] | None = None,
        each: Callable[[list[Tensor]], None] | None = None,
        **counted: int,
    ) -> list[Tensor]:
        """``Σ_b (w_b/W) visit(b)`` over the data, entry by entry, with w_b what the mean of a batch is divided by.

        Args:
            visit: Called with each micro-batch; returns tensors that are means over its examples.
            at: The point ``(n,)`` at which the network stands meanwhile.
            constant: Whether ``at`` is never written to by its owner.
            statistics: Batch-norm statistics that the network has meanwhile; ``None`` for its own.
            each: Told the means of every batch as it came from the loader; batches are not joined then.
            counted: What one visit costs, for the ledger: ``gradients=1, products=K``.

        Raises:
            OutOfMemory: Not even one example fits, or a batch that does not fit cannot be split.
        """
        self.check(at, constant=constant)
        everything = self.batches.total_weight
        self.ledger.total = max(self.ledger.total, self.batches.num_examples)
        sum_ = WeightedSum()
        self.stand(at, constant=constant, statistics=statistics)
        self.engine.graphs.enter(self.replica.moves, self.batches)
        for piece in self.engine.micro.pieces(self.batches, join=each is None):
            parts = self.visited(visit, piece, counted)
            if each is not None:
                each(parts)
            sum_.add(parts, self.batches.weight_of(piece.batch) / everything)
        return sum_.totals

    def stand(self, at: Tensor, *, constant: bool, statistics: Mapping[str, Tensor] | None = None) -> None:
        """Puts the network at a point, with the batch-norm statistics that it has there.

        Args:
            at: The point ``(n,)``.
            constant: Whether ``at`` is never written to by its owner.
            statistics: Batch-norm statistics to use there; ``None`` for the network's own.
        """
        self.engine.statistics.use(self.replica, statistics)
        self.replica.move(at, constant=constant)
        if self.calibration is None or self.replica.calibrated == self.replica.moves:
            return
        with self.randomness(), without_gradients():
            passes = ((size, partial(self.forward, self.placed(batch))) for size, batch in self.calibration)
            seen = recalibrate(self.replica.model, passes)
        self.ledger.counts.update({"evaluations": seen})
        self.replica.calibrated = self.replica.moves

    def randomness(self) -> AbstractContextManager[None]:
        """What the network is evaluated in, so that the global generators are afterwards what they were."""
        return private_randomness(self.replica.device) if self.draws else nullcontext()

    def book(self, **counted: int) -> None:
        """Counts work on the micro-batch that is being visited."""
        self.ledger.counts.update({kind: self.size * count for kind, count in counted.items()})

    def visited(self, visit: Visit, piece: Piece, counted: Mapping[str, int]) -> list[Tensor]:
        """``visit(piece)``, in parts where it is larger than what is computed at once."""
        pieces, weight = self.engine.micro.split(piece), self.batches.weight_of(piece.batch)
        if len(pieces) > 1:
            sum_ = WeightedSum()
            for one in pieces:
                share = self.batches.weight_of(one.batch) / weight
                if share > 0:
                    sum_.add(self.visited(visit, one, counted), share)
            return sum_.totals
        for attempt in range(2):
            self.place, self.weight = (piece.start, piece.size), weight
            self.size = self.batches.size_of(piece.batch)
            try:
                with self.randomness():
                    parts = visit(self.placed(piece.batch))
                self.book(**counted)
                return parts
            except (RuntimeError, MemoryError) as failure:
                if not is_out_of_memory(failure):
                    raise
            # The failure, and with it every tensor that its frames held, is gone here.
            if attempt or not self.engine.graphs.shrink():
                break
        make_room(self, piece)
        return self.visited(visit, piece, counted)

    def forward(
        self, batch: Batch, *, network: Callable[[Any], Any] | None = None
    ) -> tuple[Tensor, Any, Any]:
        """``(loss, outputs, targets)`` of one batch; the last two are ``None`` for a :class:`BatchLoss`.

        Args:
            batch: On the network's device.
            network: What computes the outputs instead of the network.
        """
        if self.differentiates and torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.enable_grad():
                return self.forward(
                    mapped(batch, lambda t: t.clone() if t.is_inference() else t), network=network
                )
        if self.writes_inputs:
            with self.replica.input_copies.paused():
                return self._evaluated(copied(batch), network)
        before = versions(batch)
        result = self._evaluated(batch, network)
        if self.checked and versions(batch) != before:
            raise InputError(
                f"{type(self.replica.model).__name__} or the loss writes to its inputs in place, but not in the first "
                "batch, so that this batch is no longer what it was; let it write to a copy: x = x.clone()"
            )
        return result

    def _evaluated(self, batch: Batch, network: Callable[[Any], Any] | None) -> tuple[Tensor, Any, Any]:
        if isinstance(self.loss, BatchLoss):
            found = self.loss.fn(self.replica.model, batch)
            whole = isinstance(found, tuple) and len(found) == 3
            loss, outputs, targets = found if whole else (found, None, None)
        else:
            inputs, targets = labelled(batch)
            outputs = applied(self.replica.model, inputs) if network is None else network(inputs)
            if not isinstance(outputs, Tensor) and wants_scores(self.loss):
                outputs = self._only_scores(outputs)
            loss = in_float64(self.loss, outputs, targets)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            seen = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the loss is not a scalar ({seen}); it must return the mean over the batch")
        return loss, outputs, targets

    def placed(self, batch: Batch) -> Batch:
        """A batch where the network is, and in its precision."""
        return moved(batch, self.replica.device, self.replica.dtype)

    def correct(self, outputs: Any, targets: Any) -> list[Tensor]:
        """How many labels are right and how many count, each over the weight of this micro-batch, so that means add up.

        Empty unless outputs are class scores ``(B, C)`` and targets class numbers.
        """
        if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
            return []
        if outputs.ndim != 2 or outputs.shape[1] < 2 or targets.ndim != 1 or targets.is_floating_point():
            return []
        counted = targets != (label_weights(self.loss) or LabelWeights()).ignored
        right = (outputs.argmax(dim=1) == targets) & counted
        return [one.double().sum() / self.weight for one in (right, counted)]

    def check(self, point: Tensor, *, constant: bool) -> None:
        """Once: the model can be applied to the data, and two evaluations of the first batch agree."""
        if self.checked:
            return
        size, batch = next(iter(self.batches))
        first_look(self, Piece(batch, 0, rows_in(batch) or size), point, constant=constant)
        self.checked = True
        settle(self)

    def example_weights(self, batch: Batch) -> Tensor:
        """What each example of a batch counts in its mean, ``(B,)`` in float64."""
        rows = range(rows_in(batch) or 0)
        weights = [self.batches.weight_of(rows_of(batch, slice(k, k + 1))) for k in rows]
        return torch.tensor(weights, dtype=torch.float64)

    def independence(self) -> Independence:
        """Whether a batch can be taken apart into examples: looked at once, where the network then stands."""
        if self.independent is None:
            self.independent = examined(self)
            if self.independent.mixed:
                self.notes.append(f"batches are not taken apart: {self.independent.reason}")
        return self.independent

    def require_derivatives(self, point: Tensor) -> None:
        """Refuses derivatives where autograd does not see what the loss depends on.

        Raises:
            InputError: It does not.
        """
        self.check(point, constant=True)
        if self.underived:
            raise InputError(self.underived)

    def _only_scores(self, outputs: Any) -> Tensor:
        """The scores; from now on the replica returns nothing else, so that every derivative sees a tensor."""
        found, where = scores(outputs)
        kind = type(self.replica.model).__name__
        self.notes.append(f"{kind} returns a {type(outputs).__name__}; the scores are {where}")
        self.replica.model.register_forward_hook(lambda module, inputs, returned: scores(returned)[0])
        return found
