"""The empirical risk at a point: what every measure and every plane asks.

``L(θ) = (1/N) Σᵢ ℓ(f(xᵢ; θ), yᵢ)`` on fixed data. An :class:`Objective` is immutable, so its loss, gradient
and per-batch gradient norms are computed once and remembered.
"""

import copy
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscape import derivatives
from landscape.batch_norm import BatchNorm
from landscape.batches import Batch, Batches, Source, example, leading_size
from landscape.derivatives import BatchGradients
from landscape.errors import UsageError
from landscape.estimate import Provenance
from landscape.isolation import twice_differentiable, without_gradients
from landscape.parameters import Layout, Selection
from landscape.replica import Replica
from landscape.risk import BatchLoss, Ledger, Loss, Risk, correct
from landscape.version import __version__
from landscape.wrappers import unwrapped

__all__ = ["BatchGradients", "BatchLoss", "Objective"]

T = TypeVar("T")


class Objective:
    """``L(θ) = (1/N) Σᵢ ℓ(f(xᵢ; θ), yᵢ)`` on fixed data, at one point θ.

    The model given is copied; neither it nor its mode, gradients and buffers, nor the global random number
    generators are changed. Batches are weighted by their size, so that the partition does not matter.

    Args:
        model: The network. Every layer but batch norm keeps its mode.
        loss: ``loss(outputs, targets)``, mean-reduced, for ``(inputs, targets)`` batches, or a
            :class:`BatchLoss`.
        batches: A ``DataLoader``, a list of batches, or a ``Dataset`` (with ``batch_size``).
        parameters: Which parameters are free; see :func:`landscape.parameters.layout`.
        batch_norm: ``"stored"`` statistics, those of each ``"batch"``, or ``"recalibrate"``: their average.
        device: Where to compute; by default where the model is.
        dtype: ``torch.float32`` or ``torch.float64``; by default the model's own.
        batch_size: Examples a batch, where ``batches`` is a ``Dataset`` (128 by default).
        calibration: Data for ``"recalibrate"``; ``batches`` by default.

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
        calibration: Source | None = None,
    ) -> None:
        reduction = getattr(loss, "reduction", "mean")
        if reduction != "mean":
            raise UsageError(
                f"the loss has reduction='{reduction}'; the mean is needed: pass reduction='mean'"
            )
        size = getattr(loss, "size", None)
        replica = Replica(model, parameters=parameters, batch_norm=batch_norm, device=device, dtype=dtype)
        fixed = Batches(batches, batch_size=batch_size, size=size)
        given = fixed if calibration is None else Batches(calibration, batch_size=batch_size, size=size)
        self._risk = Risk(replica, loss, fixed, calibration=given if batch_norm == "recalibrate" else None)
        self._origin: dict[str, Any] = {
            "model": type(unwrapped(model)[0]).__name__,
            "loss": getattr(loss, "__name__", type(loss).__name__),
            "batch_norm": batch_norm,
        }
        self._memory: dict[object, Any] = {}
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
            **self._origin,
        )

    def described(self, **origin: Any) -> "Objective":
        """The same objective with fields of its :class:`Provenance` set: ``model``, ``data``, ``split``, …"""
        twin = copy.copy(self)
        twin._origin = {**self._origin, **origin}
        twin.__dict__.pop("provenance", None)
        return twin

    def at(self, point: Tensor) -> "Objective":
        """The same model and data at another θ.

        Args:
            point: ``(n,)``; copied, and moved to the objective's device and dtype.
        """
        if tuple(point.shape) != (self.dimension,):
            raise ValueError(f"point has shape {tuple(point.shape)}; the objective has n = {self.dimension}")
        return self._derived(self._risk, point.detach().to(self.point, copy=True))

    def per_batch(self) -> Iterator["Objective"]:
        """One objective a batch: the m-sharpness reading of any measure."""
        self._risk.check(self.point, constant=True)
        for size, batch in self._risk.batches:
            yield self._derived(self._risk.on(batch, size), self.point)

    def per_example(self) -> Iterator["Objective"]:
        """One objective an example, for ``(inputs, targets)`` batches.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, whose batches have no known parts.
        """
        if isinstance(self._risk.loss, BatchLoss):
            raise UsageError("single examples need (inputs, targets) batches; a BatchLoss hides its examples")
        self._risk.check(self.point, constant=True)
        for _, batch in self._risk.batches:
            for i in range(leading_size(batch)):
                yield self._derived(self._risk.on(example(batch, i), 1), self.point)

    def remembered(self, key: object, compute: Callable[[], T]) -> T:
        """What ``compute`` returned when it was first asked for under ``key`` at this point."""
        if key not in self._memory:
            self._memory[key] = compute()
        value: T = self._memory[key]
        return value

    @property
    def loss(self) -> float:
        """L(θ), accumulated in float64."""
        return self._value[0]

    @property
    def accuracy(self) -> float | None:
        """The fraction of examples whose largest output is the target; ``None`` if outputs are not scores."""
        return self._value[1]

    @property
    def gradient(self) -> Tensor:
        """∇L(θ), ``(n,)``."""
        return self._slope[0]

    @property
    def batch_gradients(self) -> BatchGradients:
        """‖∇L_B(θ)‖² of every batch B, from the pass that computed the gradient."""
        return self._slope[2]

    @property
    def _value(self) -> tuple[float, float | None]:
        if "slope" in self._memory:
            return self._slope[1]
        return self.remembered("value", lambda: self._evaluated(self.point, constant=True))

    @property
    def _slope(self) -> tuple[Tensor, tuple[float, float | None], BatchGradients]:
        return self.remembered("slope", self._differentiated)

    def _differentiated(self) -> tuple[Tensor, tuple[float, float | None], BatchGradients]:
        norms: list[Tensor] = []

        def visit(batch: Batch) -> list[Tensor]:
            parts = derivatives.gradient(self._risk, batch)
            norms.append(parts[0].double().square().sum())
            return parts

        with twice_differentiable():
            means = self._risk.mean(visit, at=self.point, gradients=1)
        sizes = torch.tensor(self.batch_sizes, dtype=torch.float64)
        return means[0], self._numbers(means[1:]), BatchGradients(torch.stack(norms).cpu(), sizes)

    def evaluate(self, point: Tensor) -> tuple[float, float | None]:
        """Loss and accuracy at another point, by forward passes alone.

        Args:
            point: ``(n,)``, on the objective's device.
        """
        return self._evaluated(point, constant=False)

    def _evaluated(self, point: Tensor, *, constant: bool) -> tuple[float, float | None]:
        def visit(batch: Batch) -> list[Tensor]:
            loss, outputs, targets = self._risk.forward(batch)
            return [loss.double(), *correct(outputs, targets)]

        with without_gradients():
            return self._numbers(self._risk.mean(visit, at=point, constant=constant, evaluations=1))

    def _numbers(self, means: Sequence[Tensor]) -> tuple[float, float | None]:
        """Loss, and accuracy as the count it stems from over N, free of the rounding of a mean of means."""
        accuracy = round(float(means[1]) * self.num_examples) / self.num_examples if len(means) > 1 else None
        return float(means[0]), accuracy

    def hessian_product(self, vectors: Tensor) -> Tensor:
        """∇²L(θ) V, by double backward; the graph of each batch's gradient serves all columns.

        Args:
            vectors: ``(n,)`` or ``(n, K)``.

        Returns:
            The same shape.
        """
        return self._products(derivatives.hessian_products, vectors)

    def gauss_newton_product(self, vectors: Tensor) -> Tensor:
        """G V with G = (1/N) Σᵢ Jᵢᵀ (∂²ℓ/∂f²) Jᵢ, the generalised Gauss–Newton matrix.

        Args:
            vectors: ``(n,)`` or ``(n, K)``.

        Returns:
            The same shape.

        Raises:
            UsageError: The loss is a :class:`BatchLoss`, so the outputs f are not known.

        Reference:
            Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
        """
        return self._products(derivatives.gauss_newton_products, vectors)

    def average(self, visit: Callable[[Risk, Batch], list[Tensor]], **counted: int) -> list[Tensor]:
        """``Σ_b (n_b/N) visit(risk, b)`` over the batches at this point: how curvature is taken batch by batch.

        Args:
            visit: Returns tensors that are means over the examples of the batch.
            counted: What one visit costs: ``gradients``, ``products``, ``evaluations``.
        """
        with twice_differentiable():
            return self._risk.mean(
                lambda batch: visit(self._risk, batch), at=self.point, constant=True, **counted
            )

    def _products(
        self, product: Callable[[Risk, Batch, Sequence[Tensor]], list[Tensor]], vectors: Tensor
    ) -> Tensor:
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.dimension:
            expected = f"({self.dimension},) or ({self.dimension}, K)"
            raise ValueError(f"vectors have shape {tuple(vectors.shape)}; expected {expected}")
        columns = list(vectors.detach().to(self.point).reshape(self.dimension, -1).T.contiguous())
        products = self.average(
            lambda risk, batch: product(risk, batch, columns), gradients=1, products=len(columns)
        )
        return torch.stack(products, dim=1).reshape(vectors.shape)

    def _derived(self, risk: Risk, point: Tensor) -> "Objective":
        """An objective with nothing remembered."""
        twin = copy.copy(self)
        twin.__dict__.pop("provenance", None)
        twin._risk, twin.point, twin._memory = risk, point, {}
        return twin
