"""Derivatives of the loss on one micro-batch, each as what is done when it is visited."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from landscape.objective import graphs
from landscape.objective.batches import Batch
from landscape.objective.differences import refuse_wrong_second_derivative
from landscape.objective.differentiability import named_obstacle, refuse_once_differentiable
from landscape.objective.quicker import quicker
from landscape.objective.risk import Risk

G = TypeVar("G", bound=graphs.Graph)


def columns_of(vectors: Tensor, like: Tensor) -> list[Tensor]:
    """The columns of ``(n,)`` or ``(n, K)``, each ``(n,)``, on the device and in the precision of a point.

    Raises:
        ValueError: Another shape.
    """
    n = len(like)
    if vectors.ndim not in (1, 2) or vectors.shape[0] != n:
        raise ValueError(f"vectors have shape {tuple(vectors.shape)}; expected ({n},) or ({n}, K)")
    return list(vectors.detach().to(like).reshape(n, -1).T.contiguous())


def gradient(risk: Risk, batch: Batch) -> list[Tensor]:
    """``[∇ℓ_B (n,), ℓ_B, right and counted labels if known]``."""
    loss, outputs, targets = risk.forward(batch)
    slope = torch.zeros_like(risk.replica.origin)
    if loss.requires_grad:
        slope = risk.replica.layout.flatten(
            torch.autograd.grad(loss, risk.replica.parameters, allow_unused=True, materialize_grads=True)
        )
    return [slope, loss.detach().double(), *risk.correct(outputs, targets)]


def hessian_products(
    risk: Risk, batch: Batch, columns: Sequence[Tensor], *, block: int | None = None
) -> list[Tensor]:
    """``[∇²ℓ_B v for every column v (n,)]``; within one parameter tensor where ``block`` says which."""
    forward = quicker(risk, batch) == "forward-over-reverse"
    kind = graphs.ForwardOverReverse if forward else graphs.HessianGraph
    return _products(risk, kind, batch, columns, block)


def gradient_of_graph(risk: Risk, batch: Batch) -> list[Tensor]:
    """``[∇ℓ_B (n,)]`` from the graph that Hessian products need anyway, where there is one."""
    if quicker(risk, batch) == "forward-over-reverse":
        risk.book(gradients=1)
        return gradient(risk, batch)[:1]
    with second_derivatives(risk, batch):
        return [_graph(risk, graphs.HessianGraph, batch)[0].slope]


def residual_products(
    risk: Risk, batch: Batch, columns: Sequence[Tensor], *, block: int | None = None
) -> list[Tensor]:
    """``[(H − G) v for every column v (n,)]``, G the Gauss–Newton matrix, at the price of a Hessian product."""
    return _products(risk, graphs.ResidualGraph, batch, columns, block)


def gauss_newton_products(
    risk: Risk, batch: Batch, columns: Sequence[Tensor], *, block: int | None = None
) -> list[Tensor]:
    """``[Jᵀ (∂²ℓ_B/∂f²) J v for every column v (n,)]`` with J the Jacobian of the outputs f."""
    return _products(risk, graphs.GaussNewtonGraph, batch, columns, block)


def empirical_fisher_products(
    risk: Risk, batch: Batch, columns: Sequence[Tensor], *, block: int | None = None
) -> list[Tensor]:
    """``[(1/B) Σᵢ gᵢ gᵢᵀ v for every column v (n,)]`` with gᵢ the gradient of example i."""
    return _products(risk, graphs.EmpiricalFisherGraph, batch, columns, block)


@contextmanager
def second_derivatives(risk: Risk, batch: Batch, *, of_the_loss: bool = True) -> Iterator[None]:
    """Inside, a missing second derivative raises an ``InputError`` that names the operation; a wrong one is refused.

    Both are looked for once for a network and its data.

    Args:
        risk: Network and loss; standing at the point in question.
        batch: A micro-batch.
        of_the_loss: Whether the second derivative itself is needed: products with G or F differentiate the backward
            pass in a vector that it is linear in, and are right also where the Hessian is not.
    """
    with named_obstacle(risk, batch):
        if not risk.engine.twice:
            refuse_once_differentiable(risk, batch)
            risk.engine.twice = True
        if of_the_loss and not risk.engine.confirmed:
            refuse_wrong_second_derivative(risk, batch)
            risk.engine.confirmed = True
        yield


def _products(
    risk: Risk, kind: type[graphs.Graph], batch: Batch, columns: Sequence[Tensor], block: int | None
) -> list[Tensor]:
    """Products from the graph of this micro-batch, which is kept for the next vectors if there is room."""
    with second_derivatives(risk, batch, of_the_loss=not issubclass(kind, graphs.OutputGraph)):
        if kind is graphs.ForwardOverReverse:
            risk.book(gradients=len(columns))
            return graphs.ForwardOverReverse(risk, batch).products(columns, keep=False, block=block)
        graph, keep = _graph(risk, kind, batch)
        return graph.products(columns, keep=keep, block=block)


def _graph(risk: Risk, kind: type[G], batch: Batch) -> tuple[G, bool]:
    """The graph of this micro-batch, and whether it is kept."""
    replica, kept = risk.replica, risk.engine.graphs
    key = (kind.__name__, *risk.place)
    if not kept.keeps(key):
        risk.book(gradients=1)
    return kept.graph(key, lambda: kind(risk, batch), device=replica.device, besides=replica.parameters[0])
