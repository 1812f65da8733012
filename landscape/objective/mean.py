"""The weighted mean over the data: the one place that sums, moves the network to a point and counts work."""

import contextlib
import copy
import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from landscape.errors import InputError, OutOfMemory, Remark, UsageError, is_out_of_memory
from landscape.isolation.derivatives import twice_differentiable, without_gradients
from landscape.objective.batch import Batch, rows_in
from landscape.objective.batch_norm import pool, recalibrate, stored_layers
from landscape.objective.batches import Batches
from landscape.objective.engine import Statistics
from landscape.objective.first_checks import checked
from landscape.objective.independence import Independence, examined
from landscape.objective.memory import available_bytes
from landscape.objective.micro_batches import Piece, Size
from landscape.objective.risk import Risk
from landscape.objective.shards import shortage
from landscape.objective.timing import quickest_size
from landscape.processes.group import Group
from landscape.reductions import norm

Visit = Callable[[Risk, Batch], list[Tensor]]


def _added(totals: list[Tensor], parts: list[Tensor], weight: float) -> list[Tensor]:
    """The totals with ``weight`` times the parts added in place, entry by entry; none yet is empty."""
    if not totals:
        return parts if weight == 1 else [part * weight for part in parts]
    for total, part in zip(totals, parts, strict=True):
        total.add_(part, alpha=weight)
    return totals


def _title(visit: Visit, counted: Mapping[str, int]) -> str:
    """What a pass over the data computes, for processes to compare."""
    function, options = (visit.func, visit.keywords) if isinstance(visit, partial) else (visit, {})
    name = getattr(function, "__qualname__", type(function).__name__).removesuffix(".<locals>.visit")
    parts = [
        getattr(options.get("kind"), "__name__", ""),
        *(f"{key}={count}" for key, count in counted.items()),
    ]
    return " ".join(filter(None, [name.rpartition(".")[2], *parts]))


class Mean:
    """The mean over all batches of what is computed for each, at one point after the other.

    It alone sees the first checks, which come before the first number, shortage of memory, in which it goes on with
    smaller pieces, and other processes, each of which visits a block of the batches.

    Args:
        risk: Network, loss and data.
        calibration: What batch-norm statistics are recomputed from at every point; ``None`` leaves them.
    """

    def __init__(self, risk: Risk, *, calibration: Batches | None = None) -> None:
        self.risk = risk
        self.calibration = calibration
        self._independence: Independence | None = None

    @property
    def group(self) -> Group:
        """The processes that the mean is computed by."""
        return self.risk.batches.group

    @contextlib.contextmanager
    def together(self, call: str, **vectors: Tensor | None) -> Iterator[None]:
        """A context that ends in all processes or fails in all, after which their counts of work are those of all.

        Args:
            call: What is computed inside; the same in all processes.
            vectors: At most two vectors that are the same in all processes, of which the norms are compared.

        Raises:
            UsageError: The processes compute different things.
        """
        if self.group.alone:
            yield
            return
        failure: Exception | None = None
        norms: dict[str, float] = {}
        try:
            yield
            # Here, because a GPU on which something failed refuses this too.
            norms = {
                f"the norm of the {name}": float(norm(v)) for name, v in vectors.items() if v is not None
            }
        except Exception as raised:
            failure = raised
        ledger = self.risk.engine.ledger
        ledger.join(self.group.agree(failure, call=call, numbers=norms, counts=ledger.own()))

    @property
    def notes(self) -> list[str]:
        """What the first checks found, a line each."""
        if not self.risk.checks.done:
            return []
        notes = list(self.risk.checks.notes)
        if self.calibration is not None:
            note = "nothing to recalibrate: no layer stores batch-norm statistics"
            if stored_layers(self.risk.replica.model):
                examples = f"{self.calibration.num_examples:,} examples"
                note = f"batch-norm statistics are recomputed at every point, on {examples}"
            notes.insert(0, note)
        if self._independence is not None and self._independence.mixed:
            notes.append(f"batches are not taken apart: {self._independence.reason}")
        return notes

    @property
    def content(self) -> str | None:
        """The hash of the examples, and of those from which batch-norm statistics are taken."""
        batches = self.risk.batches
        if self.calibration is None or self.calibration is batches:
            return batches.content
        parts = (batches.content, self.calibration.content)
        return None if None in parts else ":".join(map(str, parts))

    def on(self, batches: Batches, *, calibration: Batches | None = None) -> "Mean":
        """The same network and loss on batches of this data; they are not checked again."""
        ledger = self.risk.engine.ledger
        # A pass stays one over all the data, also if single batches are the first to be visited.
        ledger.total = max(ledger.total, self.risk.batches.num_examples)
        twin = copy.copy(self)
        twin.risk = dataclasses.replace(self.risk, batches=batches)
        twin.calibration = self.calibration if calibration is None else calibration
        return twin

    def apart(self) -> "Mean":
        """The same for parts of the data that this process computes by itself."""
        return self if self.calibration is None else self.calibrated(self.calibration.whole)

    def calibrated(self, calibration: Batches | None) -> "Mean":
        """The same with batch-norm statistics recomputed from these data at every point, or for ``None`` without."""
        twin = copy.copy(self)
        twin.calibration = calibration
        return twin

    def over(
        self,
        visit: Visit,
        *,
        at: Tensor,
        constant: bool = True,
        statistics: Statistics | None = None,
        derivatives: bool = True,
        each: Callable[[list[Tensor]], None] | None = None,
        join: bool = True,
        vectors: Tensor | None = None,
        **counted: int,
    ) -> list[Tensor]:
        """``Σ_b (w_b/W) visit(risk, b)``, entry by entry, with w_b what the mean of a batch is divided by.

        Args:
            visit: Called with each micro-batch; returns new tensors that are means over its examples. Those of one
                dimension are vectors ``(n,)``, of which a process has its part if the weights are divided.
            at: The point ``(n,)`` at which the network stands meanwhile.
            constant: Whether ``at`` is never written to by its owner.
            statistics: Batch-norm statistics that the network has meanwhile; ``None`` for its own, or for those that
                are recomputed there.
            derivatives: Whether visits differentiate, so that autograd is on.
            each: Called with the means of every batch that this process visits, as it came from the loader; batches are
                not joined then.
            join: Whether batches may be joined to larger micro-batches, and processes that divide the weights may
                visit a micro-batch each at a time, rather than all the same.
            vectors: What is multiplied, the same in all processes.
            counted: The cost of one visit, for the ledger: ``gradients=1, products=K``.

        Raises:
            OutOfMemory: Not even one example fits, or a batch that does not fit cannot be split.
            InputError: Derivatives, where autograd does not see what the loss depends on.
        """
        risk = self.checked(at, constant=constant)
        if derivatives and risk.checks.underived:
            raise InputError(risk.checks.underived)
        batches, engine, totals = risk.batches, risk.engine, list[Tensor]()
        engine.ledger.total = max(engine.ledger.total, batches.num_examples)
        attention, shards = risk.checks.attention, risk.replica.shards
        saving = shards.saving() if derivatives else contextlib.nullcontext()
        with (
            (
                twice_differentiable(attention=attention)
                if derivatives
                else without_gradients(attention=attention)
            ),
            saving,
        ):
            with self.together(_title(visit, counted), point=at, vectors=vectors):
                self.stand(at, constant=constant, statistics=statistics)
                engine.graphs.enter(risk.replica.moves, batches)
                there, weight = batches.on(risk.replica.device, risk.replica.dtype), batches.total_weight
                first_row, join = batches.division.first_row, join and each is None
                pieces = engine.micro.pieces(there, batches.amounts, first_row=first_row, join=join)
                if join and not shards.group.alone:
                    pieces, totals = iter(()), self._in_rounds(visit, pieces, counted)
                for piece in pieces:
                    means = self._visited(visit, piece, counted)
                    if each is not None:
                        each(means)
                    totals = _added(totals, means, piece.weight / weight)
                    del means  # before the next visit, which needs the memory
            return self._summed(totals)

    def _in_rounds(self, visit: Visit, pieces: Iterable[Piece], counted: Mapping[str, int]) -> list[Tensor]:
        """The totals where weights are divided: the processes visit a micro-batch each at a time, with their shares.

        A gradient that they compute together is the mean of theirs.
        """
        batches, group, totals = self.risk.batches, self.risk.replica.shards.group, list[Tensor]()
        split = (self.risk.engine.micro.split(piece, batches.amounts) for piece in pieces)
        parts = (part for each in split for part in each if part.weight > 0)
        while some := list(itertools.islice(parts, group.world)):
            weight, has_own = sum(part.weight for part in some), group.rank < len(some)
            # A process without one of its own passes the first again.
            own = some[group.rank if has_own else 0]
            share = group.world * own.weight / weight if has_own else 0.0
            means = self._visited(visit, own, counted, share=share, size=sum(part.examples for part in some))
            totals = _added(totals, means, weight / batches.total_weight)
        return totals

    def _summed(self, totals: list[Tensor]) -> list[Tensor]:
        """The sums over all processes, the same bits in each."""
        division = self.risk.batches.division
        if self.group.alone:
            return self._averaged(totals)
        if division.idle:  # processes that had nothing to visit do not know what there is to add
            forms = [(tuple(total.shape), total.dtype) for total in totals]
            for shape, dtype in self.group.decided(forms, by=division.owner(0))[len(totals) :]:
                totals.append(torch.zeros(shape, dtype=dtype, device=self.risk.replica.device))
        self.group.add(totals)
        return totals

    def _averaged(self, totals: list[Tensor]) -> list[Tensor]:
        """The totals with numbers replaced by their means over the processes that divide the weights."""
        shards = self.risk.replica.shards
        means = iter(shards.mean([total for total in totals if total.ndim != 1]))
        return [total if total.ndim == 1 else next(means) for total in totals]

    def stand(self, at: Tensor, *, constant: bool = True, statistics: Statistics | None = None) -> None:
        """Puts the network at a point, with the batch-norm statistics that it has there; see :meth:`over`."""
        risk, replica = self.risk, self.risk.replica
        calibration = self.calibration if statistics is None else None
        if calibration is None:
            risk.engine.statistics.use(replica, statistics)
        replica.move(at, constant=constant)
        if calibration is None or not self._is_stale(at, constant):
            return
        risk.engine.statistics.give_way(replica)
        with risk.randomness(), without_gradients(attention=risk.checks.attention):
            there = calibration.on(replica.device, replica.dtype)
            passes = ((size, partial(risk.forward, risk.placed(batch))) for size, batch in there)
            with self.together("batch-norm statistics", point=at):
                examples, uses = recalibrate(replica.model, passes)
                risk.engine.ledger.counts.update({"evaluations": examples})
            pool(uses, self.group)
        replica.calibrated = replica.moves

    def _is_stale(self, at: Tensor, constant: bool) -> bool:
        """Whether the batch-norm statistics have to be recomputed, for the last time another process moved or here."""
        replica = self.risk.replica
        is_stale = replica.calibrated != replica.moves
        if self.group.any(is_stale) and not is_stale:
            replica.leave()  # so that graphs of the statistics of before are dropped
            replica.move(at, constant=constant)
            return True
        return is_stale

    def checked(self, point: Tensor, *, constant: bool = True) -> Risk:
        """The risk after the first checks, which are made once."""
        if not self.risk.checks.done:
            risk, micro = self.risk, self.risk.engine.micro
            # From before a visit, in which one process may run out of memory and settle it for itself alone.
            requested = None if micro.obstacle is not None else micro.size
            with self.together("the first checks", point=point):
                size, batch = next(risk.batches.leading())
                first = Piece.of(batch, 0, rows_in(batch) or size, risk.batches.amounts)
                risk = checked(
                    risk,
                    first,
                    point,
                    visited=lambda visit: self._visited(visit, first, {}),
                    constant=constant,
                )
            self.risk = risk
            risk.batches.settle()  # again, as the weights may be known only now
            self._settle_micro_batches(requested)
        return self.risk

    def independence(self, at: Tensor | None = None) -> Independence:
        """Whether a batch can be taken apart into examples; examined once, by default where the network stands."""
        if self._independence is None:
            if at is not None:
                self.checked(at)
            with self.together("independence of examples"):
                if at is not None:
                    self.stand(at)
                result = examined(self.risk)
            self._independence = self.group.decided(result)
        return self._independence

    def _visited(
        self,
        visit: Visit,
        piece: Piece,
        counted: Mapping[str, int],
        *,
        share: float | None = None,
        size: int | None = None,
    ) -> list[Tensor]:
        """``visit(risk, piece)``, in parts where it is larger than what is computed at once."""
        risk = self.risk
        parts = risk.engine.micro.split(piece, risk.batches.amounts)
        if len(parts) > 1:
            totals: list[Tensor] = []
            for part in parts:
                if part.weight > 0:
                    totals = _added(totals, self._visited(visit, part, counted), part.weight / piece.weight)
            return totals
        here = dataclasses.replace(
            risk,
            share=share,
            size=piece.examples if size is None else size,
            place=(piece.start, piece.size),
            batch_start=piece.batch_start,
            weight=piece.weight,
        )
        for attempt in range(2):
            try:
                with here.randomness():
                    means = visit(here, here.placed(piece.batch))
                here.book(**counted)
                return means
            except (RuntimeError, MemoryError) as failure:
                if not is_out_of_memory(failure):
                    raise
                reason = str(failure)
            if not risk.replica.shards.group.alone:
                raise OutOfMemory(shortage(risk.replica.model, risk.replica.shards, piece.size, reason))
            # Outside of `except`: the failure, and with it every tensor that its frames held, is gone here.
            released, shrunk = risk.batches.release(), risk.engine.graphs.shrink()
            if attempt or not (released or shrunk):
                break
        self._make_room(piece)
        return self._visited(visit, piece, counted)

    def _make_room(self, piece: Piece) -> None:
        """Halves the micro-batch after a piece did not fit, with a remark.

        Raises:
            OutOfMemory: It was one example, or the piece cannot be split.
        """
        replica, micro = self.risk.replica, self.risk.engine.micro
        if replica.device.type == "cuda":
            torch.cuda.empty_cache()
        elif replica.device.type == "mps":
            torch.mps.empty_cache()
        if piece.size == 1:
            raise OutOfMemory(f"out of memory with a single example; {self._ways_out()}")
        if micro.obstacle is None:
            # By itself: the other processes may have enough memory.
            micro.obstacle = (self._independence or examined(self.risk)).reason
        if micro.obstacle:
            raise OutOfMemory(
                f"out of memory at a batch of {piece.size} examples, which cannot be split because {micro.obstacle}; "
                f"try a smaller batch: -b {max(1, piece.size // 4)}; {self._ways_out()}"
            )
        micro.size = -(-piece.size // 2)
        warnings.warn(
            f"out of memory at {piece.size} examples; going on with at most {micro.size} at once, "
            "which changes no number by more than rounding",
            Remark,
            stacklevel=2,
        )

    def _ways_out(self) -> str:
        """What is needed and what needs less."""
        replica = self.risk.replica
        vector, free = replica.point.nbytes / 2**20, available_bytes(replica.device) / 2**20
        ways = [] if self.risk.engine.recomputation is not None else ["recompute=True (--recompute)"]
        ways += [
            "fewer parameters (--parameters)",
            "shard_weights=True in several processes (--shard-weights)",
        ]
        return (
            f"{type(replica.model).__name__} has {replica.layout.dimension:,} free parameters, {vector:,.0f} MiB a "
            f"vector, and {free:,.0f} MiB are free on {replica.device}: try {', '.join(ways)}, another device, or a "
            "measure that needs no product"
        )

    def _settle_micro_batches(self, requested: Size) -> None:
        """Decides whether batches can be split and joined, and on the quickest size, if a size was requested."""
        if requested is None:
            return
        micro = self.risk.engine.micro
        micro.obstacle = self.independence().reason
        if requested == "auto":
            with self.together("size of micro-batches"):
                size = None if micro.obstacle else quickest_size(self.risk)
            size = self.group.decided(size)
            if micro.size == "auto":  # and not less, where memory is short
                micro.size = size
        elif micro.obstacle:
            raise UsageError(f"micro_batch={micro.size}: a batch cannot be split because {micro.obstacle}")
