"""The empirical risk at a point: what every measure and every plane asks.

``L(θ) = (1/N) Σᵢ ℓ(f(xᵢ; θ), yᵢ)`` on fixed data. An :class:`Objective` is immutable, so its loss, gradient
and per-batch gradient norms are computed once and remembered.
"""

import copy
import dataclasses
import importlib.metadata
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.isolation import twice_differentiable
from landscape.objective import derivatives
from landscape.objective.batch_norm import BatchNorm, stored_layers
from landscape.objective.batches import KEPT_BYTES, Batch, Batches, Source, example, leading_size
from landscape.objective.differences import gradient_rounding
from landscape.objective.engine import Engine, Products, allowed_products
from landscape.objective.independence import Independence
from landscape.objective.ledger import Ledger
from landscape.objective.loss_functions import BatchLoss, Loss, placed_loss, refuse_sum
from landscape.objective.loss_weights import known_weights
from landscape.objective.micro_batches import MicroBatches, Size, allowed_size
from landscape.objective.passes import BatchGradients, Slope, Value, differentiated, evaluated
from landscape.objective.replica import Replica
from landscape.objective.risk import Risk
from landscape.objective.wrappers import unwrapped
from landscape.parameters import Layout, Selection
from landscape.records.estimate import Provenance
from landscape.version import __version__

__all__ = ["BatchGradients", "BatchLoss", "Objective"]

T = TypeVar("T")
P = ParamSpec("P")
Key = tuple[Callable[..., Any], tuple[Hashable, ...], frozenset[tuple[str, Hashable]]]


class Objective:
    """``L(θ) = (1/N) Σᵢ ℓ(f(xᵢ; θ), yᵢ)`` on fixed data, at one point θ.

    The model given is copied; neither it nor its mode, gradients and buffers, nor the global random number
    generators are changed. Batches are weighted by what the mean of their loss is over (examples, labels that are not
    ignored, the sum of the weights of their classes), so that the partition does not matter.

    Args:
        model: The network. Every layer but batch norm keeps its mode.
        loss: ``loss(outputs, targets)``, mean-reduced, for ``(inputs, targets)`` batches, or a
            :class:`BatchLoss`.
        batches: A ``DataLoader``, a list of batches, or a ``Dataset`` (with ``batch_size``).
        parameters: Which parameters are free; see :func:`landscape.parameters.layout`.
        batch_norm: ``"stored"`` statistics, those of each ``"batch"``, or ``"recalibrate"``: the average over the
            batches, recomputed in one more pass at every point at which anything is evaluated. Derivatives take
            all but those of each batch as constants.
        device: Where to compute; by default where the model is.
        dtype: ``torch.float32`` or ``torch.float64``; by default the model's own.
        batch_size: Examples a batch, where ``batches`` is a ``Dataset`` (128 by default).
        calibration: Data for ``"recalibrate"``; ``batches`` by default.
        micro_batch: Examples computed at once, which changes no number by more than rounding: by default whole
            batches, halved (with a :class:`~landscape.errors.Remark`) where memory does not suffice; ``"auto"``
            for the size with the most gradients a second.
        products: How Hessian products are computed: ``"double-backward"``, ``"forward-over-reverse"``, or
            ``"auto"`` for double backward on the CPU and the quicker of the two on CUDA.

    Attributes:
        point: θ, ``(n,)``.

    Raises:
        UsageError: No free parameter, dropout in training mode, a loss that is not a scalar mean.
        InputError: Empty or non-finite data, non-finite weights, data that the model cannot be applied to,
            a model or data set that is random.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Source,
        *,
        parameters: Selection = None,
        batch_norm: BatchNorm = "stored",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        micro_batch: Size = None,
        products: Products = "auto",
        calibration: Source | None = None,
    ) -> None:
        refuse_sum(loss)
        size, weight = getattr(loss, "size", None), known_weights(loss)
        replica = Replica(model, parameters=parameters, batch_norm=batch_norm, device=device, dtype=dtype)
        fixed = Batches(batches, batch_size=batch_size, size=size, weight=weight)
        given = fixed if calibration is None else Batches(calibration, batch_size=batch_size, size=size)
        self._risk = Risk(
            replica,
            placed_loss(loss, replica.device, replica.dtype),
            fixed,
            calibration=given if batch_norm == "recalibrate" else None,
            engine=Engine(allowed_products(products), MicroBatches(allowed_size(micro_batch))),
        )
        self._origin: dict[str, Any] = {
            "model": type(unwrapped(model)[0]).__name__,
            "loss": getattr(loss, "__name__", type(loss).__name__),
            "batch_norm": batch_norm,
        }
        self._selection = parameters
        self._statistics: Mapping[str, Tensor] | None = None
        self._memory: dict[object, Any] = {}
        self._cache: dict[Key, Any] = {}
        self.point = replica.origin

    @property
    def layout(self) -> Layout:
        """Names, shapes and offsets of the free parameters in θ."""
        return self._risk.replica.layout

    @property
    def dimension(self) -> int:
        """The number of free parameters, n."""
        return self.layout.dimension

    @property
    def num_examples(self) -> int:
        """The number of examples, N."""
        return self._risk.batches.num_examples

    @property
    def batch_sizes(self) -> list[int]:
        """Examples in each of the batches that the data is visited in."""
        return self._risk.batches.sizes

    @property
    def ledger(self) -> Ledger:
        """The work done so far on this data, at whatever point."""
        return self._risk.ledger

    @property
    def engine(self) -> Engine:
        """How the work is done: kept graphs, micro-batches, kind of product."""
        return self._risk.engine

    @property
    def notes(self) -> list[str]:
        """What was done so that there are derivatives, a line each; complete after the first use."""
        return [*self._risk.replica.notes, *self._risk.notes]

    @cached_property
    def provenance(self) -> Provenance:
        """Where numbers taken here come from."""
        return Provenance(
            landscape=__version__,
            torch=importlib.metadata.version("torch"),
            device=self._risk.replica.device.type,
            dtype=str(self._risk.replica.dtype).removeprefix("torch."),
            dimension=self.dimension,
            num_examples=self.num_examples,
            batch_size=max(self.batch_sizes),
            examples=self._risk.content,
            **self._origin,
        )

    def described(self, **origin: Any) -> "Objective":
        """The same objective with fields of its :class:`Provenance` set: ``model``, ``data``, ``split``, …"""
        twin = copy.copy(self)
        twin._origin = {**self._origin, **origin}
        twin.__dict__.pop("provenance", None)
        return twin

    @property
    def network(self) -> nn.Module:
        """The private copy of the model that is moved from point to point; not to be changed."""
        return self._risk.replica.model

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Copies of the batch-norm statistics that are used as stored, by the names of their buffers."""
        return self._risk.replica.statistics if self._statistics is None else dict(self._statistics)

    def at(self, point: Tensor, *, statistics: Mapping[str, Tensor] | None = None) -> "Objective":
        """The same model and data at another θ.

        Args:
            point: ``(n,)``; copied, and moved to the objective's device and dtype.
            statistics: Batch-norm statistics to use there, by the names of their buffers (see
                :attr:`statistics`); by default those of this objective.
        """
        if tuple(point.shape) != (self.dimension,):
            raise ValueError(f"point has shape {tuple(point.shape)}; the objective has n = {self.dimension}")
        twin = self._derived(self._risk, point.detach().to(self.point, copy=True))
        if statistics is not None:
            twin._statistics = dict(statistics)
        return twin

    def resident(self, *, channels_last: bool = False) -> "Objective | None":
        """The same objective with its data kept on the device, for many evaluations with another forward pass.

        Args:
            channels_last: Whether images ``(B, C, H, W)`` are stored in the memory order that convolutions prefer.

        Returns:
            ``None`` if batches are not pairs of tensors (and images, for ``channels_last``), if they take more than
            2 GiB, if the loss is a :class:`BatchLoss`, or if the network writes to its inputs.
        """
        risk = self._risk
        risk.check(self.point, constant=True)
        if isinstance(risk.loss, BatchLoss) or risk.writes_inputs:
            return None
        pairs, size = [], 0
        for _, batch in risk.batches:
            pair = risk.placed(batch)
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
                return None
            inputs, targets = pair
            if channels_last:
                if inputs.ndim != 4:
                    return None
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            size += inputs.numel() * inputs.element_size()
            if size > KEPT_BYTES:
                return None
            pairs.append((inputs, targets))
        return self._derived(dataclasses.replace(risk, batches=risk.batches.stored_as(pairs)), self.point)

    def at_fixed_statistics(self) -> "Objective":
        """The same objective with batch-norm statistics as they are here, until this one is used elsewhere.

        That tells what work costs without the pass that recalibrates.
        """
        if self._risk.calibration is None or not stored_layers(self._risk.replica.model):
            return self
        self._risk.check(self.point, constant=True)
        self._risk.stand(self.point, constant=True)
        return self._derived(dataclasses.replace(self._risk, calibration=None), self.point)

    def of(self, model: nn.Module) -> "Objective":
        """The same loss on the same data with another network of the same kind, such as another checkpoint's.

        Args:
            model: The network; copied.

        Raises:
            InputError: Its free parameters are others.
        """
        risk, here = self._risk, self._risk.replica
        replica = Replica(
            model,
            parameters=self._selection,
            batch_norm=self._origin["batch_norm"],
            device=here.device,
            dtype=here.dtype,
        )
        if replica.layout != here.layout:
            raise InputError(
                f"{type(model).__name__} has {replica.layout.dimension} free parameters that are not the "
                f"{here.layout.dimension} of this objective, or not in that order: they are of different networks"
            )
        engine = Engine(risk.engine.products, dataclasses.replace(risk.engine.micro))
        fresh = Risk(replica, risk.loss, risk.batches, engine=engine, calibration=risk.calibration)
        twin = self._derived(fresh, replica.origin)
        twin._statistics = None
        return twin

    def per_batch(self) -> Iterator["Objective"]:
        """One objective a batch of some weight, with the loss that the batch has by itself: the m-sharpness reading."""
        self._risk.check(self.point, constant=True)
        for size, batch in self._risk.batches:
            yield self._derived(self._risk.on(batch, size), self.point)

    def per_example(self) -> Iterator["Objective"]:
        """One objective an example of some weight, for ``(inputs, targets)`` batches; its loss is that of it alone.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, whose batches have no known parts.
        """
        if isinstance(self._risk.loss, BatchLoss):
            raise UsageError("single examples need (inputs, targets) batches; a BatchLoss hides its examples")
        self._risk.check(self.point, constant=True)
        for _, batch in self._risk.batches:
            for i in range(leading_size(batch)):
                if self._risk.batches.weight_of(example(batch, i)) > 0:
                    yield self._derived(self._risk.on(example(batch, i), 1), self.point)

    def independence(self) -> Independence:
        """Whether the loss of a batch is the weighted mean over examples that do not see each other; checked once."""
        self._risk.check(self.point, constant=True)
        if self._risk.independent is None:
            self._risk.replica.move(self.point, constant=True)
        return self._risk.independence()

    @property
    def total_weight(self) -> float:
        """W in ``L(θ) = (1/W) Σᵢ wᵢ ℓᵢ(θ)``: the number of examples, or of labels, or the sum of class weights."""
        return self._risk.batches.total_weight

    def cached(
        self, function: "Callable[Concatenate[Objective, P], T]", *args: P.args, **options: P.kwargs
    ) -> T:
        """``function(self, *args, **options)``, computed once at this point for equal arguments.

        Args:
            function: Any function of an objective; the function itself is part of the key.
            args: Its other arguments; hashable, such as numbers and frozen dataclasses. What a field with
                ``compare=False`` holds (a callback) makes no difference to the key.
            options: Likewise, by name.
        """
        key = _key(function, args, options)
        if key not in self._cache:
            self._cache[key] = function(self, *args, **options)
        return cast(T, self._cache[key])

    def known(
        self, function: "Callable[Concatenate[Objective, P], T]", *args: P.args, **options: P.kwargs
    ) -> T | None:
        """What :meth:`cached` would return without computing anything, else ``None``."""
        return cast("T | None", self._cache.get(_key(function, args, options)))

    @property
    def has_gradient(self) -> bool:
        """Whether a pass at this point has computed the gradient already."""
        return "slope" in self._memory

    def remembered(self, key: object, compute: Callable[[], T]) -> T:
        """What ``compute`` returned when it was first asked for under ``key`` at this point."""
        if key not in self._memory:
            self._memory[key] = compute()
        value: T = self._memory[key]
        return value

    @property
    def known_loss(self) -> float | None:
        """L(θ) if a pass at this point has computed it already, else ``None``."""
        return self.loss if {"slope", "value"} & self._memory.keys() else None

    def recall(self, key: object) -> Any:
        """What is remembered under ``key`` at this point; ``None`` if nothing is."""
        return self._memory.get(key)

    @property
    def loss(self) -> float:
        """L(θ), accumulated in float64."""
        return self._value.loss

    @property
    def accuracy(self) -> float | None:
        """The fraction of examples whose largest output is the target; ``None`` if outputs are not scores."""
        return self._value.accuracy

    @property
    def gradient(self) -> Tensor:
        """∇L(θ), ``(n,)``."""
        return self._slope.gradient

    @property
    def gradient_rounding(self) -> float | None:
        """‖error‖ that rounding may leave in ∇L(θ), from a few examples beside float64; ``None`` if unknown."""
        return self.remembered("gradient rounding", self._rounding)

    def _rounding(self) -> float | None:
        risk = self._risk
        risk.check(self.point, constant=True)
        _, batch = next(iter(risk.batches))
        with risk.randomness(), twice_differentiable():
            risk.replica.move(self.point, constant=True)
            return gradient_rounding(risk, risk.placed(batch))

    @property
    def batch_gradients(self) -> BatchGradients:
        """‖∇L_B(θ)‖² of every batch B, from the pass that computed the gradient."""
        return self._slope.batches

    @property
    def _value(self) -> Value:
        if "slope" in self._memory:
            return self._slope.value
        return self.remembered(
            "value", lambda: evaluated(self._risk, self.point, constant=True, statistics=self._statistics)
        )

    @property
    def _slope(self) -> Slope:
        return self.remembered(
            "slope", lambda: differentiated(self._risk, self.point, statistics=self._statistics)
        )

    def evaluate(
        self,
        point: Tensor,
        *,
        statistics: Mapping[str, Tensor] | None = None,
        forward: Callable[[], Callable[[Any], Any]] | None = None,
    ) -> tuple[float, float | None]:
        """Loss and accuracy at another point, by forward passes alone.

        Args:
            point: ``(n,)`` on the objective's device.
            statistics: Batch-norm statistics to use there; by default those of this objective.
            forward: Another way to compute the outputs. It is called once, while :attr:`network` stands at the
                point, and returns the function from inputs to outputs that is applied to every batch.

        Raises:
            UsageError: ``forward`` with a :class:`BatchLoss`, which calls the network itself.
        """
        if forward is not None and isinstance(self._risk.loss, BatchLoss):
            raise UsageError("forward= needs loss(outputs, targets); a BatchLoss calls the network itself")
        here = self._statistics if statistics is None else statistics
        value = evaluated(self._risk, point, constant=False, statistics=here, forward=forward)
        return value.loss, value.accuracy

    def hessian_product(self, vectors: Tensor, *, block: int | None = None) -> Tensor:
        """∇²L(θ) V; the graph of a gradient serves all columns, and later vectors as far as memory allows.

        Args:
            vectors: ``(n,)`` or ``(n, K)``; so is the result.
            block: The number of a parameter tensor in the layout: only its diagonal block is multiplied, with
                zeros elsewhere.

        Raises:
            InputError: An operation of the network has no second derivative.
        """
        return self._products(derivatives.hessian_products, vectors, block)

    def gauss_newton_product(self, vectors: Tensor) -> Tensor:
        """G V with G = (1/N) Σᵢ Jᵢᵀ (∂²ℓ/∂f²) Jᵢ, the generalised Gauss–Newton matrix.

        Args:
            vectors: ``(n,)`` or ``(n, K)``; so is the result.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, so the outputs f are not known.

        Reference:
            Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
        """
        return self._products(derivatives.gauss_newton_products, vectors, None)

    def empirical_fisher_product(self, vectors: Tensor) -> Tensor:
        """F V with F = (1/W) Σᵢ wᵢ gᵢ gᵢᵀ, gᵢ the gradient of the loss of example i alone, W = Σᵢ wᵢ.

        An example counts with its weight in the loss, ``L = (1/W) Σᵢ wᵢ ℓᵢ``: 1, or the weight of its class, or 0
        where its label is ignored.

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
        return self._products(derivatives.empirical_fisher_products, vectors, None)

    def average(
        self, visit: Callable[[Risk, Batch], list[Tensor]], *, gradients: int = 0, products: int = 0
    ) -> list[Tensor]:
        """``Σ_b (w_b/W) visit(risk, b)`` over the batches at this point: how curvature is taken batch by batch.

        Args:
            visit: Returns tensors that are means over the examples of the batch.
            gradients: What one visit costs, besides what it books itself.
            products: Likewise.
        """
        risk = self._risk
        risk.require_derivatives(self.point)
        with twice_differentiable():
            return risk.mean(
                partial(visit, risk),
                at=self.point,
                statistics=self._statistics,
                gradients=gradients,
                products=products,
            )

    def _products(self, product: Callable[..., list[Tensor]], vectors: Tensor, block: int | None) -> Tensor:
        columns = derivatives.columns_of(vectors, self.point)
        visit = partial(product, columns=columns, block=block)
        return torch.stack(self.average(visit, products=len(columns)), dim=1).reshape(vectors.shape)

    def _derived(self, risk: Risk, point: Tensor) -> "Objective":
        """An objective with nothing remembered."""
        twin = copy.copy(self)
        twin.__dict__.pop("provenance", None)
        twin._risk, twin.point, twin._memory, twin._cache = risk, point, {}, {}
        return twin


def _key(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Key:
    return function, args, frozenset(options.items())
