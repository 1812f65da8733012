"""Products with the matrices of one micro-batch, from graphs that are built, checked and kept here."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from landscape.objective.autograd_graph import gradient_of
from landscape.objective.batch import Batch
from landscape.objective.differences import refuse_wrong_second_derivative
from landscape.objective.differentiability import named_obstacle, refuse_once_differentiable
from landscape.objective.graphs import Block, Each, ForwardOverReverse, Graph, HessianGraph, OutputGraph
from landscape.objective.recomputing import recomputing
from landscape.objective.risk import Risk
from landscape.objective.shards import Shards
from landscape.objective.timing import quicker_product
from landscape.reductions import exact


def columns_of(vectors: Tensor, like: Tensor) -> list[Tensor]:
    """The columns of ``(n,)`` or ``(n, K)``, each ``(n,)``, on the device and in the precision of a point.

    Raises:
        ValueError: Another shape.
    """
    n = len(like)
    if vectors.ndim not in (1, 2) or vectors.shape[0] != n:
        raise ValueError(f"vectors have shape {tuple(vectors.shape)}; expected ({n},) or ({n}, K)")
    matrix = vectors.detach().to(like)
    return list((matrix[:, None] if matrix.ndim == 1 else matrix).T.contiguous())


def matrix_products(
    risk: Risk,
    batch: Batch,
    kind: type[Graph],
    columns: Sequence[Tensor],
    *,
    block: Block = None,
    each: Each | None = None,
) -> list[Tensor]:
    """``[A v for every column v (n,)]`` with the matrix A of one micro-batch.

    Args:
        risk: Network and loss; standing at the point in question.
        batch: The micro-batch.
        kind: The graph of the matrix; for the Hessian, forward-over-reverse products if these are quicker or requested.
        columns: The vectors, which may be made when they are asked for.
        block: The numbers of some parameter tensors: only their diagonal block is multiplied.
        each: Makes what is returned instead of A v from v and A v.
    """
    with second_derivatives(risk, batch, of_the_loss=not issubclass(kind, OutputGraph)):
        if kind is HessianGraph and quicker_product(risk, batch) == "forward-over-reverse":
            risk.book(gradients=len(columns))
            return ForwardOverReverse(risk, batch).products(columns, keep=False, block=block, each=each)
        with recomputing(risk, batch):
            graph, keep = risk.engine.graphs.graph(*_request(risk, batch, kind))
        images: list[Tensor] = graph.products(columns, keep=keep, block=block, each=each)
        return images


def gradient(risk: Risk, batch: Batch) -> list[Tensor]:
    """``[∇ℓ_B (n,), ℓ_B, right and counted labels if known]``."""
    with recomputing(risk, batch):
        loss, outputs, targets = risk.forward(batch)
    return [gradient_of(risk.replica, loss), exact(loss.detach()), *risk.correct(outputs, targets)]


def gradient_of_graph(risk: Risk, batch: Batch) -> list[Tensor]:
    """``[∇ℓ_B (n,)]`` from the graph that Hessian products need anyway, if they need one."""
    if quicker_product(risk, batch) == "forward-over-reverse":
        risk.book(gradients=1)
        return gradient(risk, batch)[:1]
    with second_derivatives(risk, batch), recomputing(risk, batch):
        key, _, book, parameter, shards = _request(risk, batch, HessianGraph)
        build = partial(HessianGraph, risk, batch, with_slope=True)
        return [risk.engine.graphs.graph(key, build, book, parameter, shards)[0].slope()]


def _request(
    risk: Risk, batch: Batch, kind: type[Graph]
) -> tuple[tuple[str, int, int], Callable[[], Any], Callable[[], None], Tensor, Shards]:
    """The key of a graph, how it is built and booked, a parameter that is not part of it, and how it is divided."""
    book, replica = partial(risk.book, gradients=1), risk.replica
    # Graphs of a loss that is the only one differ from those of one of several that are visited together.
    name = kind.__name__ if risk.share is None else f"{kind.__name__}, share {risk.share!r}"
    key = name, *risk.place
    return key, partial(kind, risk, batch), book, replica.parameters[0], replica.shards


@contextlib.contextmanager
def second_derivatives(risk: Risk, batch: Batch, *, of_the_loss: bool = True) -> Iterator[None]:
    """Inside, a missing second derivative raises an ``InputError`` naming the operation; a wrong one is refused."""
    # Once for a network and its data, because each check costs about a product. Products with G or F need no second
    # derivative of the loss: they differentiate the backward pass in a vector that it is linear in.
    with named_obstacle(risk, batch):
        if not risk.engine.twice:
            refuse_once_differentiable(risk, batch)
            risk.engine.twice = True
        if of_the_loss and not risk.engine.confirmed:
            refuse_wrong_second_derivative(risk, batch)
            risk.engine.confirmed = True
        yield
