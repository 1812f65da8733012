"""The empirical risk at a point: the object that every measure and every plane evaluates and differentiates."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Hashable, Iterator
from functools import cached_property, partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.isolation.derivatives import twice_differentiable
from landscape.isolation.modes import outside_modes
from landscape.losses.loss_functions import BatchLoss, Loss, placed_loss, refuse_sum
from landscape.losses.outputs import prepared_by
from landscape.objective.arguments import batches_in, device_in, loss_in, network_in
from landscape.objective.batch_norm import BatchNorm, stored_layers
from landscape.objective.batches import Batches, Source, room_on
from landscape.objective.engine import Engine, Ledger, Products, Statistics, allowed_products
from landscape.objective.graphs import Block, EmpiricalFisherGraph, GaussNewtonGraph, Graph, HessianGraph
from landscape.objective.independence import Independence
from landscape.objective.loss_weights import known_weights
from landscape.objective.mean import Mean, Visit
from landscape.objective.micro_batches import MicroBatches, Size, allowed_size
from landscape.objective.parts import batches_apart, batches_before, examples_apart, examples_before
from landscape.objective.passes import BatchGradients, Slope, Value, differentiated, evaluated
from landscape.objective.products import columns_of, matrix_products
from landscape.objective.recomputed_blocks import recomputation
from landscape.objective.replica import Replica
from landscape.objective.risk import Risk
from landscape.objective.rounding import gradient_rounding, last_bits
from landscape.objective.sameness import refuse_differences
from landscape.objective.shards import Read, Shards, sharding
from landscape.parameters import Layout, Selection, selection_name
from landscape.processes import Processes
from landscape.processes.group import ALONE, Group, group_for
from landscape.records.estimate import Provenance
from landscape.version import __version__, version_of

T = TypeVar("T")
P = ParamSpec("P")


class Objective:
    """``L(θ) = (1/N) Σᵢ ℓ(f(xᵢ; θ), yᵢ)`` on fixed data, at one point θ.

    An objective is immutable: its loss, gradient and per-batch gradient norms are computed once. The model is copied;
    neither it nor its mode, gradients and buffers, nor the global random number generators are changed. Batches are
    weighted by what the mean of their loss is over (examples, labels that are not ignored, the sum of the weights of
    their classes), so that the partition into batches does not matter.

    Args:
        model: The network. Every layer but batch norm keeps its mode.
        loss: ``loss(outputs, targets)``, mean-reduced, for ``(inputs, targets)`` batches; a :class:`BatchLoss`, or a
            function whose parameters are ``(model, batch)``; or a name, ``"cross-entropy:label_smoothing=0.1"``.
        batches: ``(inputs, targets)``, a list of such batches or dictionaries, a ``DataLoader``, or a ``Dataset``
            (with ``batch_size``). NumPy arrays are copied into tensors.
        parameters: Which parameters are free; see :func:`landscape.parameters.layout`.
        batch_norm: ``"stored"`` statistics, those of each ``"batch"``, or ``"recalibrate"``: those that
            ``torch.optim.swa_utils.update_bn`` computes, in one more pass at every point at which anything is
            evaluated. Derivatives take all but those of each batch as constants. ``"auto"`` is ``"stored"``, except on
            surfaces through several checkpoints whose statistics differ; these use :meth:`recalibrating`.
        device: The device of all computations; by default that of the model, each layer's own where there are several
            (θ is on the host then).
        dtype: ``torch.float32`` or ``torch.float64``; by default the model's own.
        batch_size: Examples a batch, if ``batches`` is a ``Dataset`` (128 by default) or ``(inputs, targets)`` (all).
        calibration: The training examples from which statistics are recomputed; ``batches`` by default.
        micro_batch: Examples computed at once, which changes no number by more than rounding: by default whole
            batches, halved (with a :class:`~landscape.errors.Remark`) if memory does not suffice; ``"auto"``
            for the size with the most gradients a second.
        products: How Hessian products are computed: ``"double-backward"``, ``"forward-over-reverse"``, or
            ``"auto"`` for double backward on the CPU and the quicker of the two on CUDA.
        recompute: Activation checkpointing for gradients and products: what is inside a block of the network (a
            transformer block, a residual block) is computed again in backward passes instead of being kept. A product
            then takes about half as long again, and as much memory as a gradient does; no number changes. Whether it
            is of use with a network is found out on two examples, and said in :attr:`notes`.
        processes: How several processes divide the data that were started together (``torchrun``, ``srun``) and have a
            ``torch.distributed`` process group. ``"split"``: all pass the same data, and each computes a block of the
            batches. ``"own"``: each passes its own part, as from a ``DistributedSampler``, and the data are all parts
            in the order of the processes. Either way all of them make the same calls, and get the number of all data,
            with its error and cost, which does not depend on how many they are. ``"alone"``: this process measures what
            it passes by itself. Left out, several processes are an error. One process is always alone.
        copy: Whether the model is copied. With ``copy=False`` it is given away: no weight is there twice, and neither
            the model nor its parameters may be used or changed by anyone else afterwards.
        shard_weights: Whether the processes of ``processes="split"`` hold a part of the weights each, for a network
            that is too large for one of them: every vector is then the part ``(nᵣ,)`` that :attr:`shards` describes.
            The weights of a module are gathered while it is passed. A network of ``fully_shard`` is taken apart, a
            tensor at a time, and stays as it is. For a network on the meta device, a function that reads the weights:
            ``(name, start, stop)`` → those coordinates of the flattened parameter.

    Attributes:
        point: θ, ``(n,)``.

    Raises:
        UsageError: No free parameter, dropout in training mode, a loss that is not a scalar mean, or an argument that
            is not one of those above; the message says what to write.
        InputError: Empty or non-finite data, non-finite weights, data that the model cannot be applied to,
            a model or data set that is random.
        ProcessFailed: Another process raised something else, or does not answer.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | str,
        batches: Source,
        *,
        parameters: Selection = None,
        batch_norm: BatchNorm = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        micro_batch: Size = None,
        products: Products = "auto",
        recompute: bool = False,
        calibration: Source | None = None,
        processes: Processes = None,
        copy: bool = True,
        shard_weights: bool | Read = False,
    ) -> None:
        group = group_for(processes)
        sharded = sharding(shard_weights, group, processes, products)
        # Weights that are divided are passed by all processes together, each of which reads all data.
        batched = partial(Batches, group=group if sharded is None else ALONE, own=processes == "own")
        with group.together("Objective(…)"):
            model = network_in(model, loss)
            loss, loss_name = loss_in(loss)
            refuse_sum(loss)
            batched = partial(batched, size=getattr(loss, "size", None), prepare=prepared_by(loss))
            read = partial(batches_in, loss=loss, batch_size=batch_size)
            batches, calibration = read(batches), None if calibration is None else read(calibration)
            replica = Replica(
                model,
                parameters=parameters,
                batch_norm=batch_norm,
                device=device_in(device),
                dtype=dtype,
                copy=copy,
                sharded=sharded,
            )
            fixed = batched(batches, batch_size=batch_size, weight=known_weights(loss))
            self._calibration = fixed if calibration is None else batched(calibration, batch_size=batch_size)
            engine = _engine(replica, products, allowed_size(micro_batch), recompute=recompute)
            risk = Risk(replica, placed_loss(loss, replica.device, replica.dtype), fixed, engine)
            self._mean = Mean(risk, calibration=self._calibration if batch_norm == "recalibrate" else None)
            self._origin: dict[str, Any] = {
                "model": type(replica.model).__name__,
                "loss": loss_name,
                "batch_norm": "stored" if batch_norm == "auto" else batch_norm,
                "parameters": selection_name(parameters, replica.layout.names),
                "frozen": replica.frozen,
            }
        self._selection, self._sharded, self._batch_norm = parameters, sharded, batch_norm
        self._statistics: Statistics | None = None
        self._cache: dict[Hashable, Any] = {}
        self.point = replica.point
        if not group.alone:
            refuse_differences(risk, self._origin, processes, group)
            fixed.settle()
            if batch_norm == "recalibrate" and self._calibration is not fixed:
                self._calibration.settle()

    def __repr__(self) -> str:
        """A summary that reads no data and evaluates nothing."""
        origin = self._origin
        data = " ".join(str(origin[key]) for key in ("data", "split") if origin.get(key)) or "data"
        examples = self._mean.risk.batches.examples_read
        size = "not read yet" if examples is None else f"{examples:,} examples"
        fixed = f" ({origin['parameters']})" if origin["parameters"] else ""
        at = f" at {origin['checkpoint_file']}" if origin.get("checkpoint_file") else ""
        loss = "" if self.known_loss is None else f" = {self.known_loss:.6g}"
        return (
            f"Objective({origin['model']}{at}, {self.dimension:,} parameters{fixed}; {data}, {size}; "
            f"{origin['loss']}{loss}; {self.point.device.type}, {str(self.point.dtype).removeprefix('torch.')})"
        )

    @property
    def layout(self) -> Layout:
        """Names, shapes and offsets of the free parameters in θ, or in the part of it that is held here."""
        return self._mean.risk.replica.layout

    @property
    def shards(self) -> Shards:
        """What this process holds of every vector: all of it, or with ``shard_weights`` a part."""
        return self._mean.risk.replica.shards

    @property
    def dimension(self) -> int:
        """The number of free parameters, n."""
        return self.shards.whole.dimension

    @property
    def num_examples(self) -> int:
        """The number of examples, N."""
        return self._mean.risk.batches.num_examples

    @property
    def batch_sizes(self) -> list[int]:
        """The number of examples in each batch."""
        return self._mean.risk.batches.sizes

    @property
    def total_weight(self) -> float:
        """W in ``L(θ) = (1/W) Σᵢ wᵢ ℓᵢ(θ)``: the number of examples, or of labels, or the sum of class weights."""
        return self._mean.risk.batches.total_weight

    @property
    def group(self) -> Group:
        """The processes that compute together; what each of them raises inside ``group.together()``, all raise."""
        return self._mean.group

    @property
    def processes(self) -> Group:
        """The processes that make the same calls: those of :attr:`group`, or those that divide the weights."""
        return self.shards.group if self.group.alone else self.group

    @property
    def ledger(self) -> Ledger:
        """The work done so far on this data, at all points."""
        return self.engine.ledger

    @property
    def engine(self) -> Engine:
        """How the work is done: kept graphs, micro-batches, kind of product."""
        return self._mean.risk.engine

    @property
    def notes(self) -> list[str]:
        """What was changed in the copy of the model for derivatives to exist, a line each; complete after first use."""
        recomputed = self.engine.recomputation
        notes = [] if recomputed is None else recomputed.notes
        return [*self._mean.risk.replica.notes, *self._mean.notes, *notes]

    @property
    def network(self) -> nn.Module:
        """The private copy of the model that is moved from point to point; not to be changed."""
        return self._mean.risk.replica.model

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Copies of the batch-norm statistics that are used as stored, by the names of their buffers."""
        if self._statistics is not None:
            return dict(self._statistics)
        return self.engine.statistics.own(self._mean.risk.replica)

    @property
    def batch_norm(self) -> BatchNorm:
        """The requested source of batch-norm statistics."""
        return self._batch_norm

    @property
    def recalibrated_on(self) -> int | None:
        """The examples from which batch-norm statistics are recomputed at every point; ``None`` if they are not."""
        calibration = self._mean.calibration
        return None if calibration is None or not stored_layers(self.network) else calibration.num_examples

    @cached_property
    def provenance(self) -> Provenance:
        """Model, data and versions behind the numbers computed here."""
        replica = self._mean.risk.replica
        return Provenance(
            landscape=__version__,
            torch=version_of("torch"),
            device=replica.device.type,
            dtype=str(replica.dtype).removeprefix("torch."),
            dimension=self.dimension,
            num_examples=self.num_examples,
            batch_size=max(self.batch_sizes),
            examples=self._mean.content,
            **self._origin,
        )

    def described(self, **origin: Any) -> "Objective":
        """The same objective with fields of its :class:`Provenance` set: ``model``, ``data``, ``split``, …"""
        twin = copy.copy(self)
        twin._origin = {**self._origin, **origin}
        twin.__dict__.pop("provenance", None)
        return twin

    @outside_modes()
    def at(self, point: Tensor, *, statistics: Statistics | None = None) -> "Objective":
        """The same model and data at another θ.

        Args:
            point: ``(n,)``; copied, and moved to the objective's device and dtype.
            statistics: Batch-norm statistics to use there, by the names of their buffers (see
                :attr:`statistics`); by default those of this objective.
        """
        if tuple(point.shape) != (self.layout.dimension,):
            raise ValueError(f"point has shape {tuple(point.shape)}; here it has n = {self.layout.dimension}")
        moved = self._derived(point=point.detach().to(self.point, copy=True), statistics=statistics)
        # No file holds the weights of this point.
        return moved.described(checkpoint=None, checkpoint_file=None)

    def at_fixed_statistics(self) -> "Objective":
        """The same objective with the batch-norm statistics that are computed at this point, and no others."""
        if self.recalibrated_on is None:
            return self
        return self._derived(self._mean.calibrated(None), statistics=self._used(self.point))

    def recalibrating(self) -> "Objective":
        """The same objective with batch-norm statistics recomputed at every point, on a small part of the data.

        The part is half of the training examples, but at least 256 (or all of them) and at most 2,048: always the
        same ones, in a random order and in whole batches, because in training mode layers see a batch at a time, and a
        batch of one class, or of a few examples, has other statistics.
        """
        if self.recalibrated_on is not None or not self.statistics:
            return self
        self._mean.checked(self.point)
        twin = self._derived(self._mean.calibrated(self._calibration.sample))
        twin._batch_norm, twin._statistics = "recalibrate", None
        return twin.described(batch_norm="recalibrate")

    def statistics_at(self, point: Tensor) -> Statistics:
        """The batch-norm statistics that are used at a point ``(n,)``: recomputed there, or those of this objective."""
        return self.statistics if self.recalibrated_on is None else self._used(point, constant=False)

    @outside_modes()
    def _used(self, point: Tensor, *, constant: bool = True) -> Statistics:
        self._mean.checked(point)
        self._mean.stand(point, constant=constant, statistics=self._statistics)
        return self._mean.risk.replica.statistics

    def of(self, model: nn.Module, *, copy: bool = True) -> "Objective":
        """The same loss on the same data with another network of the same kind, such as another checkpoint's.

        Args:
            model: The network.
            copy: Whether it is copied; otherwise it is given away, as to the objective itself.

        Raises:
            InputError: Its free parameters are others.
        """
        risk, here = self._mean.risk, self._mean.risk.replica
        replica = Replica(
            model,
            parameters=self._selection,
            batch_norm=self._origin["batch_norm"],
            device=here.device,
            dtype=here.dtype,
            copy=copy,
            sharded=self._sharded,
        )
        if replica.layout != here.layout:
            raise InputError(
                f"{type(model).__name__} has {replica.layout.dimension} free parameters that are not the "
                f"{here.layout.dimension} of this objective, or not in that order: they are of different networks"
            )
        recompute = risk.engine.recomputation is not None
        engine = _engine(replica, risk.engine.products, None, recompute=recompute)
        engine.micro = dataclasses.replace(risk.engine.micro)
        mean = Mean(Risk(replica, risk.loss, risk.batches, engine), calibration=self._mean.calibration)
        group = self.group if self._sharded is None else self._sharded.group
        if not group.alone:
            processes = "own" if risk.batches.is_divided else "split"
            refuse_differences(mean.risk, self._origin, processes, group)
        twin = self._derived(mean, replica.point)
        twin._statistics = None
        return twin

    @outside_modes()
    def resident(self, *, channels_last: bool = False) -> "Objective | None":
        """The same objective with its data kept on the device, for many evaluations with another forward pass.

        Args:
            channels_last: Whether images ``(B, C, H, W)`` are stored in the memory order that convolutions prefer.

        Returns:
            ``None`` if batches are not pairs of tensors (and images, for ``channels_last``), if they take more than
            2 GiB on the CPU or a quarter of the memory that is free on a GPU, if the loss is a :class:`BatchLoss`, or
            if the network writes to its inputs.
        """
        risk = self._mean.checked(self.point)
        if isinstance(risk.loss, BatchLoss) or risk.checks.writes_inputs or self.shards.gathering:
            return None
        stored = self._placed(risk.batches, channels_last=channels_last)
        if stored is None:
            return None
        others = self._mean.calibration
        if channels_last and others is risk.batches:
            others = stored
        elif others is not None:  # plain passes even where those of the loss are compiled
            others = self._placed(others, channels_last=True) or others
        return self._derived(self._mean.on(stored, calibration=others))

    def _placed(self, batches: Batches, *, channels_last: bool) -> Batches | None:
        """The batches on the device; ``None`` if :meth:`resident` cannot keep them there."""
        pairs, size, replica = [], 0, self._mean.risk.replica
        room = room_on(replica.device)
        for _, batch in batches.on(replica.device, replica.dtype) if batches.group.alone else batches:
            match self._mean.risk.placed(batch):
                case (Tensor() as inputs, Tensor() as targets) if inputs.ndim == 4 or not channels_last:
                    size += inputs.nbytes
                case _:
                    return None
            if size > room:
                return None
            if channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            pairs.append((inputs, targets))
        return batches.stored_as(pairs)

    def per_batch(self) -> Iterator["Objective"]:
        """One objective a batch of some weight, with the loss of that batch alone: the m-sharpness reading.

        With several processes each computes all of them; :meth:`by_batch` divides them.

        Raises:
            UsageError: With ``processes="own"``, where no process has all batches.
        """
        batches = self._mean.checked(self.point).batches
        return map(self._part(), batches_apart(batches))

    def per_example(self) -> Iterator["Objective"]:
        """One objective an example of some weight, for ``(inputs, targets)`` batches, with the loss of it alone.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, whose batches have no known parts; or as :meth:`per_batch`.
        """
        self._refuse_hidden_examples()
        batches = self._mean.checked(self.point).batches
        return map(self._part(), examples_apart(batches))

    def by_batch(
        self, function: Callable[["Objective"], T], *, only: Collection[int] | None = None
    ) -> list[T]:
        """``function(part)`` for every objective of :meth:`per_batch`, in their order, divided over the processes.

        Args:
            function: Called with the part in one of the processes, where it must not wait for the others. All of them
                get all results, which therefore have to be such as can be pickled.
            only: The numbers of batches to which it is limited.
        """
        return self._by_part(batches_apart, batches_before, function, only)

    def by_example(
        self, function: Callable[["Objective"], T], *, only: Collection[int] | None = None
    ) -> list[T]:
        """The same for every objective of :meth:`per_example`.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, whose batches have no known parts.
        """
        self._refuse_hidden_examples()
        return self._by_part(examples_apart, examples_before, function, only)

    def _by_part(
        self,
        apart: Callable[..., Iterator[Batches]],
        before: Callable[[Batches], int],
        function: Callable[["Objective"], T],
        only: Collection[int] | None,
    ) -> list[T]:
        batches, results = self._mean.checked(self.point).batches, list[T]()
        part, first = self._part(), 0 if only is None else before(batches)
        name = getattr(function, "__qualname__", type(function).__name__)
        with self._mean.together(f"parts of the data by {name}", point=self.point):
            for number, single in enumerate(apart(batches, here=True), first):
                if only is None or number in only:
                    results.append(function(part(single)))
                elif number > max(only, default=-1):
                    break
        return [result for each in self.group.gathered(results) for result in each]

    def _part(self) -> Callable[[Batches], "Objective"]:
        mean = self._mean.apart()
        return lambda batches: self._derived(mean.on(batches))

    def _refuse_hidden_examples(self) -> None:
        if isinstance(self._mean.risk.loss, BatchLoss):
            raise UsageError("single examples need (inputs, targets) batches; a BatchLoss hides its examples")

    def independence(self) -> Independence:
        """Whether the loss of a batch is the weighted mean over examples that do not see each other; checked once."""
        return self._mean.independence(self.point)

    def cached(
        self, function: "Callable[Concatenate[Objective, P], T]", *args: P.args, **options: P.kwargs
    ) -> T:
        """``function(self, *args, **options)``, computed once at this point for equal arguments.

        Args:
            function: Any function of an objective; the function itself is part of the key.
            args: Its other arguments; hashable, such as numbers and frozen dataclasses. The values of fields with
                ``compare=False`` (callbacks) are not part of the key.
            options: Keyword arguments, likewise.
        """
        key = function, args, frozenset(options.items())
        if key not in self._cache:
            self._cache[key] = function(self, *args, **options)
        return cast(T, self._cache[key])

    @property
    def has_gradient(self) -> bool:
        """Whether a pass at this point has computed the gradient already."""
        return "_slope" in self.__dict__

    @property
    def known_loss(self) -> float | None:
        """L(θ) if a pass at this point has computed it already, else ``None``."""
        return self.loss if {"_slope", "_value"} & self.__dict__.keys() else None

    @property
    def loss(self) -> float:
        """L(θ), accumulated in float64."""
        return (self._slope.value if self.has_gradient else self._value).loss

    @property
    def accuracy(self) -> float | None:
        """The fraction of examples whose largest output is the target; ``None`` if outputs are not scores."""
        return (self._slope.value if self.has_gradient else self._value).accuracy

    @property
    def gradient(self) -> Tensor:
        """∇L(θ), ``(n,)``."""
        return self._slope.gradient

    @property
    def batch_gradients(self) -> BatchGradients:
        """‖∇L_B(θ)‖² of every batch B, from the pass of the gradient; of sharded weights from one of its own."""
        return self._slope.batches or self._slope_by_batch

    @cached_property
    def gradient_rounding(self) -> float | None:
        """‖error‖ that rounding may leave in ∇L(θ), from a few examples; ``None`` if unknown.

        Where ∇L(θ) is not known yet, it is computed afterwards, for there would be two vectors at once otherwise.
        """
        bits = self._of_the_first("last bits of the gradient", last_bits)
        length = float(self.shards.norm(self.gradient))
        rounding = partial(gradient_rounding, length=length, bits=bits)
        return self.group.decided(self._of_the_first("rounding of the gradient", rounding))

    def _of_the_first(self, title: str, function: Callable[[Risk, Any], T]) -> T:
        """``function(risk, batch)`` of the first batch at this point, with derivatives."""
        risk = self._mean.checked(self.point)
        with (
            self._mean.together(title, point=self.point),
            risk.randomness(),
            twice_differentiable(),
            self.shards.saving(),
        ):
            self._mean.stand(self.point, statistics=self._statistics)
            _, batch = next(risk.batches.leading())
            return function(risk, risk.placed(batch))

    @cached_property
    def _value(self) -> Value:
        return evaluated(self._mean, self.point, constant=True, statistics=self._statistics)

    @cached_property
    def _slope(self) -> Slope:
        # Processes that divide the weights compute the gradient of several batches at a time.
        by_batch = self.shards.group.alone
        return differentiated(self._mean, self.point, statistics=self._statistics, by_batch=by_batch)

    @cached_property
    def _slope_by_batch(self) -> BatchGradients:
        batches = differentiated(self._mean, self.point, statistics=self._statistics).batches
        assert batches is not None
        return batches

    def evaluate(
        self,
        point: Tensor,
        *,
        statistics: Statistics | None = None,
        forward: Callable[[], Callable[[Any], Any]] | None = None,
    ) -> tuple[float, float | None]:
        """Loss and accuracy at another point, by forward passes alone.

        Args:
            point: ``(n,)`` on the objective's device.
            statistics: Batch-norm statistics to use there; by default those of this objective, or those that it
                recomputes there.
            forward: Another way to compute the outputs. It is called once, while :attr:`network` stands at the
                point, and returns the function from inputs to outputs that is applied to every batch.

        Raises:
            UsageError: ``forward`` with a :class:`BatchLoss`, which calls the network itself.
        """
        if forward is not None and isinstance(self._mean.risk.loss, BatchLoss):
            raise UsageError("forward= needs loss(outputs, targets); a BatchLoss calls the network itself")
        statistics = self._statistics if statistics is None else statistics
        replica = self._mean.checked(self.point).replica
        if point.device != self.point.device or point.dtype != self.point.dtype or point.is_inference():
            point = point.detach().to(self.point, copy=True)
        try:  # without a copy of the point, which its owner may change afterwards and not meanwhile
            replica.leave()
            return evaluated(self._mean, point, constant=True, statistics=statistics, forward=forward)
        finally:
            replica.move(self.point, constant=True)

    def hessian_product(self, vectors: Tensor, *, block: Block = None) -> Tensor:
        """∇²L(θ) V; the graph of a gradient serves all columns, and later vectors as far as memory allows.

        Args:
            vectors: ``(n,)`` or ``(n, K)``; so is the result.
            block: The numbers of some parameter tensors in the layout: only their diagonal block is multiplied, with
                zeros elsewhere, which costs less.

        Raises:
            InputError: An operation of the network has no second derivative.
        """
        return self._product(HessianGraph, vectors, block)

    def gauss_newton_product(self, vectors: Tensor) -> Tensor:
        """G V with G = (1/N) Σᵢ Jᵢᵀ (∂²ℓ/∂f²) Jᵢ, the generalised Gauss–Newton matrix.

        Args:
            vectors: ``(n,)`` or ``(n, K)``; so is the result.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, so the outputs f are not known.

        Reference:
            Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
        """
        return self._product(GaussNewtonGraph, vectors)

    def empirical_fisher_product(self, vectors: Tensor) -> Tensor:
        """F V with F = (1/W) Σᵢ wᵢ gᵢ gᵢᵀ, gᵢ the gradient of the loss of example i alone, W = Σᵢ wᵢ.

        An example counts with its weight in the loss, ``L = (1/W) Σᵢ wᵢ ℓᵢ``: 1, or the weight of its class, or 0
        if its label is ignored.

        Args:
            vectors: ``(n,)`` or ``(n, K)``; so is the result.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, so that its examples are not known; or examples see each
                other, so that none has a gradient of its own.

        Reference:
            Kunstner, Balles and Hennig 2019, arXiv 1905.12558, eq. 3: it is neither the Fisher matrix nor the Hessian.
        """
        apart = self.independence()
        if apart.mixed:
            raise UsageError(
                f"the empirical Fisher matrix needs gradients of single examples, but {apart.reason}"
            )
        return self._product(EmpiricalFisherGraph, vectors)

    def average(
        self, visit: Visit, *, gradients: int = 0, products: int = 0, join: bool = True
    ) -> list[Tensor]:
        """``Σ_b (w_b/W) visit(risk, b)`` over the batches at this point, with autograd on.

        Args:
            visit: Returns tensors that are means over the examples of the batch.
            gradients: The gradients that one visit costs, besides what it books itself.
            products: The products with a matrix that it costs.
            join: Whether small batches may be visited together.
        """
        return self._mean.over(
            visit,
            at=self.point,
            statistics=self._statistics,
            join=join,
            gradients=gradients,
            products=products,
        )

    @outside_modes()
    def _product(self, kind: type[Graph], vectors: Tensor, block: Block = None) -> Tensor:
        columns = columns_of(vectors, self.point)
        visit = partial(matrix_products, kind=kind, columns=columns, block=block)
        images = self._mean.over(
            visit, at=self.point, statistics=self._statistics, vectors=vectors, products=len(columns)
        )
        return (images[0] if len(images) == 1 else torch.stack(images, dim=1)).reshape(vectors.shape)

    def _derived(
        self, mean: Mean | None = None, point: Tensor | None = None, statistics: Statistics | None = None
    ) -> "Objective":
        """An objective of which nothing has been computed."""
        twin = object.__new__(type(self))
        twin._origin, twin._cache = self._origin, {}
        twin._selection, twin._sharded = self._selection, self._sharded
        twin._batch_norm, twin._calibration = self._batch_norm, self._calibration
        twin._mean = self._mean if mean is None else mean
        twin.point = self.point if point is None else point
        twin._statistics = self._statistics if statistics is None else statistics
        return twin


def _engine(replica: Replica, products: Products, size: Size, *, recompute: bool) -> Engine:
    """The engine of a replica, whose blocks are prepared for being computed again with ``recompute``."""
    again = recomputation(replica.model, allowed_products(products), replica.shards) if recompute else None
    return Engine(allowed_products(products), MicroBatches(size), recomputation=again)
