"""Graphs of one micro-batch from which products with vectors are taken, and the alternative that needs none.

A graph of the gradient costs one gradient to build and two for every product; whoever keeps it saves a third of
the work on all further vectors. Built by ``torch.autograd.grad``, never by ``.backward(create_graph=True)``, which
leaves a reference cycle in ``.grad``.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.objective.batches import Batch
from landscape.objective.kernels import HeldPadding
from landscape.objective.loss_functions import in_float64
from landscape.objective.outputs import called_with
from landscape.objective.replica import Replica
from landscape.objective.risk import BatchLoss, Risk


class Graph(Protocol):
    """What yields products with one symmetric matrix of one micro-batch.

    It holds the replica and never the risk, which holds the graphs that are kept: no cycle, no memory left behind.
    """

    def __init__(self, risk: Risk, batch: Batch) -> None: ...

    def products(self, columns: Sequence[Tensor], *, keep: bool, block: int | None = None) -> list[Tensor]:
        """The product with every column ``(n,)``.

        Args:
            columns: Vectors.
            keep: Whether the graph will be used again; otherwise its memory is given back on the way.
            block: The number of a parameter tensor: the columns are taken to be zero outside it, and only that
                part of the products is computed.
        """
        ...


class HessianGraph:
    """∇²ℓ_B by a second backward pass through the graph of the gradient."""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        loss = self._value(risk, batch)
        self._replica = risk.replica
        self._slope: Sequence[Tensor] = (
            torch.autograd.grad(
                loss, risk.replica.parameters, create_graph=True, allow_unused=True, materialize_grads=True
            )
            if loss.requires_grad
            else [torch.zeros_like(p) for p in risk.replica.parameters]
        )

    def _value(self, risk: Risk, batch: Batch) -> Tensor:
        """What is differentiated twice."""
        loss, _, _ = risk.forward(batch)
        return loss

    @property
    def slope(self) -> Tensor:
        """The gradient ``(n,)``, of which it is the graph."""
        return self._replica.layout.flatten([part.detach() for part in self._slope])

    def products(self, columns: Sequence[Tensor], *, keep: bool, block: int | None = None) -> list[Tensor]:
        """See :class:`Graph`."""
        chosen = range(len(self._slope)) if block is None else [block]
        curved = [i for i in chosen if self._slope[i].requires_grad]
        slope = [self._slope[i] for i in curved]
        found = []
        for k, column in enumerate(columns):
            parts = self._replica.layout.split(column)
            vectors, retain = [parts[i] for i in curved], keep or k + 1 < len(columns)
            found.append(_pulled_back(self._replica, slope, vectors, retain=retain, block=block))
        return found


class ResidualGraph(HessianGraph):
    """H − G, what the curvature of the outputs adds to that of the loss: the Hessian of :func:`residual`."""

    def _value(self, risk: Risk, batch: Batch) -> Tensor:
        loss, outputs, _ = risk.forward(batch)
        return residual(loss, outputs) if loss.requires_grad else loss


def residual(loss: Tensor, outputs: Tensor) -> Tensor:
    """``Σ_c (∂ℓ/∂f_c) f_c`` with the first factor held: its Hessian is H − G, for G has the loss's own curvature."""
    (slope,) = torch.autograd.grad(loss, outputs, retain_graph=True)
    return (slope.detach() * outputs).sum()


class OutputGraph:
    """Jᵀ S J with J the Jacobian of the outputs f and S a matrix in the outputs that a subclass applies.

    ``J v`` is the derivative of ``u ↦ Jᵀ u`` in direction v, by a second backward pass.
    """

    name = ""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        if isinstance(risk.loss, BatchLoss):
            raise UsageError(
                f"the {self.name} matrix needs the network's outputs, which a BatchLoss hides; "
                "pass loss(outputs, targets) and (inputs, targets) batches"
            )
        self._replica, self._loss = risk.replica, risk.loss
        _, self._outputs, targets = risk.forward(batch)
        self._cotangent = torch.zeros_like(self._outputs, requires_grad=True)
        self._transposed = torch.autograd.grad(
            self._outputs,
            risk.replica.parameters,
            self._cotangent,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        self._prepare(self._outputs.detach().requires_grad_(True), targets)

    def _prepare(self, scores: Tensor, targets: Tensor) -> None:
        """Takes what S needs from the outputs as a leaf."""
        raise NotImplementedError

    def _bent(self, tangent: Tensor) -> Tensor:
        """S t for a tangent t shaped like the outputs."""
        raise NotImplementedError

    def products(self, columns: Sequence[Tensor], *, keep: bool, block: int | None = None) -> list[Tensor]:
        """See :class:`Graph`."""
        chosen = range(len(self._transposed)) if block is None else [block]
        curved = [i for i in chosen if self._transposed[i].requires_grad]
        found = []
        for k, column in enumerate(columns):
            parts = self._replica.layout.split(column)
            if not curved:
                found.append(torch.zeros_like(column))
                continue
            (tangent,) = torch.autograd.grad(
                [self._transposed[i] for i in curved],
                self._cotangent,
                [parts[i] for i in curved],
                retain_graph=True,
                materialize_grads=True,
            )
            bent, retain = self._bent(tangent), keep or k + 1 < len(columns)
            found.append(_pulled_back(self._replica, [self._outputs], [bent], retain=retain, block=block))
        return found


class GaussNewtonGraph(OutputGraph):
    """S = ∂²ℓ_B/∂f²: the generalised Gauss–Newton matrix."""

    name = "Gauss–Newton"

    def _prepare(self, scores: Tensor, targets: Tensor) -> None:
        self._scores = scores
        (self._slope,) = torch.autograd.grad(
            in_float64(self._loss, scores, targets), scores, create_graph=True
        )

    def _bent(self, tangent: Tensor) -> Tensor:
        if not self._slope.requires_grad:
            return torch.zeros_like(tangent)
        (bent,) = torch.autograd.grad(
            self._slope, self._scores, tangent, retain_graph=True, materialize_grads=True
        )
        return bent


class EmpiricalFisherGraph(OutputGraph):
    """S = (1/W) Σᵢ wᵢ (∂ℓᵢ/∂f)(∂ℓᵢ/∂f)ᵀ: the weighted mean outer product of per-example gradients."""

    name = "empirical Fisher"

    def __init__(self, risk: Risk, batch: Batch) -> None:
        shares = risk.example_weights(batch) / risk.batches.weight_of(batch)
        self._scales = torch.where(shares > 0, 1 / shares, 0.0)  # ∂ℓᵢ/∂f = ∂ℓ_B/∂f · W/wᵢ
        super().__init__(risk, batch)

    def _prepare(self, scores: Tensor, targets: Tensor) -> None:
        (self._slopes,) = torch.autograd.grad(in_float64(self._loss, scores, targets), scores)

    def _bent(self, tangent: Tensor) -> Tensor:
        along = (tangent * self._slopes).flatten(1).sum(1) * self._scales.to(tangent)
        return self._slopes * along.reshape(-1, *[1] * (tangent.ndim - 1))


class ForwardOverReverse:
    """∇²ℓ_B v as the forward derivative of the gradient in direction v: nothing is kept between vectors."""

    def __init__(self, risk: Risk, batch: Batch) -> None:
        self._replica = risk.replica
        whole = LossOf(risk, batch)
        names = [f"model.{name}" for name in risk.replica.layout.names]

        def loss(parts: tuple[Tensor, ...]) -> Tensor:
            with HeldPadding():
                value: Tensor = called_with(whole, dict(zip(names, parts, strict=True)))
            return value

        self._slope = torch.func.grad(loss)

    def products(self, columns: Sequence[Tensor], *, keep: bool, block: int | None = None) -> list[Tensor]:
        """See :class:`Graph`; every product costs a gradient besides."""
        replica = self._replica
        point = tuple(p.detach() for p in replica.parameters)
        found = []
        for column in columns:
            parts = replica.layout.split(column)
            derivative: Any = torch.func.jvp
            image = derivative(self._slope, (point,), (tuple(parts),))[1]
            whole = replica.layout.flatten(image).detach()
            found.append(whole if block is None else _within(replica, whole, block))
        return found


class LossOf(nn.Module):
    """The loss on one batch as a module, so that parameters and buffers of network and loss can be replaced.

    Args:
        risk: Network and loss.
        batch: A micro-batch.
    """

    def __init__(self, risk: Risk, batch: Batch) -> None:
        super().__init__()
        self.model = risk.replica.model
        self.loss = risk.loss if isinstance(risk.loss, nn.Module) else None

        def loss() -> Tensor:
            value, _, _ = risk.forward(batch)
            return value

        self._loss = loss

    def forward(self) -> Tensor:
        """The loss."""
        value: Tensor = self._loss()
        return value


def _pulled_back(
    replica: Replica,
    outputs: Sequence[Tensor],
    vectors: Sequence[Tensor],
    *,
    retain: bool,
    block: int | None,
) -> Tensor:
    """The derivative of ``Σ outputs · vectors`` as one vector ``(n,)``; zero where nothing depends on θ."""
    if not any(output.requires_grad for output in outputs):
        return torch.zeros_like(replica.origin)
    wanted = replica.parameters if block is None else [replica.parameters[block]]
    found = torch.autograd.grad(
        outputs, wanted, grad_outputs=vectors, retain_graph=retain, allow_unused=True, materialize_grads=True
    )
    if block is None:
        return replica.layout.flatten(found)
    whole = torch.zeros_like(replica.origin)
    replica.layout.split(whole)[block].copy_(found[0])
    return whole


def _within(replica: Replica, vector: Tensor, block: int) -> Tensor:
    """The vector with zeros outside one parameter tensor."""
    whole = torch.zeros_like(vector)
    replica.layout.split(whole)[block].copy_(replica.layout.split(vector)[block])
    return whole
