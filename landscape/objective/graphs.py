"""Graphs of one micro-batch from which products with vectors are taken, and the alternative that needs none.

A graph of the gradient costs one gradient to build and two for every product; keeping it saves a third of the work on
all further vectors.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.losses.closed_forms import curvature_product
from landscape.losses.loss_functions import BatchLoss, in_float64
from landscape.losses.outputs import called_with
from landscape.objective.autograd_graph import Output, flat_slopes, gradient_places
from landscape.objective.batch import Batch
from landscape.objective.contributions import Contribution, contributions
from landscape.objective.kernels import HeldPadding
from landscape.objective.risk import Risk

Tensors = Sequence[Tensor]
Block = Collection[int] | None
"""The numbers of some parameter tensors; ``None`` for all of them."""
Each = Callable[[Tensor, Tensor], Tensor]
"""What is kept of a vector and its product."""


class Graph(ABC):
    """Products with one symmetric matrix of one micro-batch, by a backward pass through a graph that is held here."""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        # The replica and never the risk, which holds the graphs that are kept: a cycle would keep memory allocated.
        self._replica = risk.replica
        self._uses: list[Contribution] | None = None  # of the weights in the graph behind all columns

    def products(
        self, columns: Tensors, *, keep: bool, block: Block = None, each: Each | None = None
    ) -> list[Tensor]:
        """The product with every column ``(n,)``, or what ``each`` makes of it.

        Args:
            columns: Vectors, which may be made when they are asked for.
            keep: Whether the graph will be used again; otherwise its memory is given back on the way.
            block: Some parameter tensors: the columns are taken to be zero outside them, and only that part of the
                products is computed, which costs less.
            each: Called with every column and its product, before the next one is computed.
        """
        layout, images = self._replica.layout, list[Tensor]()
        parameters = dict(enumerate(self._replica.parameters))
        inputs = parameters if block is None else {k: parameters[k] for k in block}
        for k in range(len(columns)):
            column = columns[k]
            outputs, vectors = self._transposed(layout.split(column), block)
            if block is None and self._uses is None:
                self._uses = contributions(outputs, parameters)
            options: Any = {
                "retain": keep or k + 1 < len(columns),
                "uses": self._uses if block is None else [],
            }
            if outputs:
                image = flat_slopes(outputs, vectors, inputs, layout, like=column, **options)
            else:
                image = torch.zeros_like(column)
            images.append(image if each is None else each(column, image))
            del column, vectors, image  # before the next ones are made
        return images

    @abstractmethod
    def _transposed(self, parts: Tensors, block: Block) -> tuple[Sequence[Output], Tensors]:
        """``(outputs, vectors)``: the gradient of ``Σ outputs · vectors`` is the product with these parts."""


class HessianGraph(Graph):
    """∇²ℓ_B by a second backward pass through the graph of the gradient."""

    def __init__(self, risk: Risk, batch: Batch, *, with_slope: bool = False) -> None:
        super().__init__(risk, batch)
        loss, outputs, _ = risk.forward(batch)
        self._output = self._value(loss, outputs) if loss.requires_grad else loss
        self._slope: Tensor | None = None
        parameters = risk.replica.parameters
        if with_slope:
            self._slope = torch.zeros_like(risk.replica.point)
            parts = risk.replica.layout.split(self._slope)
            self._places = gradient_places(self._output, parameters, each=lambda k, part: parts[k].add_(part))
        else:
            self._places = gradient_places(self._output, parameters)

    def _value(self, loss: Tensor, outputs: Any) -> Tensor:
        """What is differentiated twice."""
        return loss

    @property
    def value(self) -> float:
        """The value that is differentiated."""
        return float(self._output.detach())

    def slope(self) -> Tensor:
        """The gradient ``(n,)``, of which it is the graph; the first time at no cost after ``with_slope``."""
        if self._slope is not None:
            slope, self._slope = self._slope, None
            return slope
        replica = self._replica
        if not self._output.requires_grad:
            return torch.zeros_like(replica.point)
        inputs = dict(enumerate(replica.parameters))
        return flat_slopes([self._output], None, inputs, replica.layout, like=replica.point, retain=True)

    def _transposed(self, parts: Tensors, block: Block) -> tuple[Sequence[Output], Tensors]:
        curved = _within(self._places, block)
        return [place for _, place in curved], [parts[k] for k, _ in curved]


class ResidualGraph(HessianGraph):
    """H − G, what the curvature of the outputs adds to that of the loss: the Hessian of :func:`residual`."""

    def _value(self, loss: Tensor, outputs: Any) -> Tensor:
        return residual(loss, outputs)


def residual(loss: Tensor, outputs: Tensor) -> Tensor:
    """``Σ_c (∂ℓ/∂f_c) f_c`` with a constant first factor: its Hessian is H − G, for G has the loss's own curvature."""
    (slope,) = torch.autograd.grad(loss, outputs, retain_graph=True)
    return (slope.detach() * outputs).sum()


class OutputGraph(Graph):
    """Jᵀ S J with J the Jacobian of the outputs f and S a matrix in the outputs that a subclass applies.

    ``J v`` is the derivative of ``u ↦ Jᵀ u`` in direction v, by a second backward pass.
    """

    name = ""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        super().__init__(risk, batch)
        if isinstance(risk.loss, BatchLoss):
            raise UsageError(
                f"the {self.name} matrix needs the network's outputs, which a BatchLoss hides; "
                "pass loss(outputs, targets) and (inputs, targets) batches"
            )
        self._loss = risk.loss
        self._share = 1.0 if risk.share is None else risk.share
        _, self._outputs, targets = risk.forward(batch)
        # Zeros without memory of their own: the outputs of a language model take more of it than its weights.
        zeros = self._outputs.detach().new_zeros(()).expand_as(self._outputs)
        self._cotangent = zeros.requires_grad_()
        self._places = gradient_places(self._outputs, risk.replica.parameters, cotangent=self._cotangent)
        self._prepare(self._outputs.detach().requires_grad_(True), targets)

    @abstractmethod
    def _prepare(self, scores: Tensor, targets: Tensor) -> None:
        """Computes what S needs from the outputs as a leaf."""

    @abstractmethod
    def _bent(self, tangent: Tensor) -> Tensor:
        """S t for a tangent t shaped like the outputs."""

    def _transposed(self, parts: Tensors, block: Block) -> tuple[Sequence[Output], Tensors]:
        curved = _within(self._places, block)
        if not curved:
            return [], []
        starts: Any = [place for _, place in curved]
        (tangent,) = torch.autograd.grad(
            starts,
            self._cotangent,
            [parts[k] for k, _ in curved],
            retain_graph=True,
            materialize_grads=True,
        )
        return [self._outputs], [self._share * self._bent(tangent)]


class GaussNewtonGraph(OutputGraph):
    """S = ∂²ℓ_B/∂f²: the generalised Gauss–Newton matrix. S is in closed form for known losses, else by autograd."""

    name = "Gauss–Newton"

    def _prepare(self, scores: Tensor, targets: Tensor) -> None:
        self._product = curvature_product(self._loss, scores, targets)
        if self._product is not None:
            return
        self._scores = scores
        (self._score_slope,) = torch.autograd.grad(
            in_float64(self._loss, scores, targets), scores, create_graph=True
        )

    def _bent(self, tangent: Tensor) -> Tensor:
        if self._product is not None:
            return self._product(tangent)
        if not self._score_slope.requires_grad:
            return torch.zeros_like(tangent)
        (bent,) = torch.autograd.grad(
            self._score_slope, self._scores, tangent, retain_graph=True, materialize_grads=True
        )
        return bent


class EmpiricalFisherGraph(OutputGraph):
    """S = (1/W) Σᵢ wᵢ (∂ℓᵢ/∂f)(∂ℓᵢ/∂f)ᵀ: the weighted mean outer product of per-example gradients."""

    name = "empirical Fisher"

    def __init__(self, risk: Risk, batch: Batch) -> None:
        shares = risk.example_weights(batch) / risk.weight
        self._scales = torch.where(shares > 0, 1 / shares, 0.0)  # ∂ℓᵢ/∂f = ∂ℓ_B/∂f · W/wᵢ
        super().__init__(risk, batch)

    def _prepare(self, scores: Tensor, targets: Tensor) -> None:
        (self._score_slope,) = torch.autograd.grad(in_float64(self._loss, scores, targets), scores)

    def _bent(self, tangent: Tensor) -> Tensor:
        along = (tangent * self._score_slope).flatten(1).sum(1) * self._scales.to(tangent.dtype)
        return self._score_slope * along.reshape(-1, *[1] * (tangent.ndim - 1))


class ForwardOverReverse:
    """∇²ℓ_B v as the forward derivative of the gradient in direction v: nothing is kept between vectors."""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        self._replica = risk.replica
        loss_of = LossOf(risk, batch)
        names = [f"model.{name}" for name in risk.replica.layout.names]

        def loss(parts: tuple[Tensor, ...]) -> Tensor:
            with HeldPadding():
                value: Tensor = called_with(loss_of, dict(zip(names, parts, strict=True)))
            return value

        self._slope = torch.func.grad(loss)

    def products(
        self, columns: Tensors, *, keep: bool, block: Block = None, each: Each | None = None
    ) -> list[Tensor]:
        """See :class:`Graph`; every product costs a gradient besides."""
        replica = self._replica
        point = tuple(p.detach() for p in replica.parameters)
        images = []
        for k in range(len(columns)):
            column = columns[k]
            tangents: Any = (tuple(replica.layout.split(column)),)
            try:
                parts: Any = torch.func.jvp(self._slope, (point,), tangents)[1]
            except (RuntimeError, NotImplementedError) as failure:
                # Only these words tell: some operations have no forward derivative, and that of the backward pass of
                # nn.MSELoss writes to a tensor that torch itself has made read-only.
                if not ("forward AD" in str(failure) or "ZeroTensors are immutable" in str(failure)):
                    raise
                raise InputError(
                    f'products="forward-over-reverse" cannot be used with {type(replica.model).__name__} and its loss: '
                    f"torch has no forward derivative of their gradient ({str(failure).splitlines()[0]}); use "
                    'products="double-backward"'
                ) from failure
            image = torch.zeros_like(column)
            for number, place in enumerate(replica.layout.split(image)):
                if block is None or number in block:
                    place.copy_(parts[number].detach())
            del parts
            images.append(image if each is None else each(column, image))
            del column, tangents, image  # before the next ones are made
        return images


class LossOf(nn.Module):
    """The loss on one batch as a module, so that parameters and buffers of network and loss can be replaced."""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        super().__init__()
        self.model = risk.replica.model
        self.loss = risk.loss if isinstance(risk.loss, nn.Module) else None
        self._loss: Callable[[], Tensor] = lambda: risk.forward(batch)[0]

    def forward(self) -> Tensor:
        """The loss."""
        return self._loss()


def _within(places: Sequence[tuple[int, Output]], block: Block) -> Sequence[tuple[int, Output]]:
    """Those of the block alone."""
    return places if block is None else [(k, place) for k, place in places if k in block]
