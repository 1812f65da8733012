"""The decoders of ``benchmarks/memory.py``, and what is asked of every tool.

Peers are imported where they are used, so that the others can be measured without them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

PROBES = 8
"""Products that an estimate of the trace may take; more change no peak."""

ITERATIONS = 10
"""Products of our power iteration; more change no peak."""

TOLERANCE = 1e-3

STEPS = 5
"""Lanczos steps by which a peer goes further that takes a number of them instead of a tolerance."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder."""

    vocabulary: int
    positions: int
    width: int
    depth: int
    heads: int


SHAPES = {
    "1M": Shape(512, 64, 128, 5, 4),
    "14M": Shape(8192, 256, 384, 6, 6),
    "124M": Shape(50257, 1024, 768, 12, 12),
}


class Decoder(nn.Module):
    """A decoder shaped like GPT-2: its blocks, learned positions, and the embedding as the last layer.

    Attention is written out because the peers fail with torch's fused kernels, which have no second derivative.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(B, T, vocabulary)``."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        states = self.tokens(tokens) + self.positions(places)
        for block in self.blocks:
            states = block(states)
        return functional.linear(self.norm(states), self.tokens.weight)


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a normalisation and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.projections, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widening, self.narrowing = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        """The states ``(B, T, width)`` after the block."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.projections(self.norms[0](states)).chunk(3, dim=-1)
        )
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=states.device).triu(1)
        mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ value
        states = states + self.output(mixed.transpose(1, 2).flatten(2))
        hidden = functional.gelu(self.widening(self.norms[1](states)), approximate="tanh")
        added: Tensor = states + self.narrowing(hidden)
        return added


class TokenLoss(nn.Module):
    """The mean cross-entropy over all tokens."""

    reduction = "mean"  # which curvlinops asks for

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``(B, T, vocabulary)``."""
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


token_loss = TokenLoss()


@dataclass(frozen=True)
class Problem:
    """A network and one batch of sequences."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The data as the peers read them."""
        return [(self.inputs, self.targets)]

    @property
    def size(self) -> int:
        """The bytes of the weights."""
        return sum(p.nbytes for p in self.model.parameters())

    @property
    def dimension(self) -> int:
        """The number of weights."""
        return sum(p.numel() for p in self.model.parameters())


def problem(size: str, sequences: int, tokens: int, device: str, *, depth: int | None = None) -> Problem:
    """A decoder of one of the sizes (or depth) in evaluation mode, at random weights, and random tokens."""
    torch.manual_seed(0)
    shape = SHAPES[size]
    shape = shape if depth is None else replace(shape, depth=depth)
    text = torch.randint(shape.vocabulary, (sequences, min(tokens, shape.positions - 1) + 1), device=device)
    return Problem(Decoder(shape).eval().to(device), text[:, :-1].contiguous(), text[:, 1:].contiguous())


def _ours(measure: Callable[[Any, Problem], Any], **options: Any) -> Callable[[Problem], Any]:
    def run(case: Problem) -> Any:
        from landscape.objective import Objective

        objective = Objective(case.model, token_loss, (case.inputs, case.targets), **options)
        return objective, measure(objective, case)

    return run


def _gradient_norm(objective: Any, case: Problem) -> Any:
    from landscape.measures import gradient_norm

    return gradient_norm(objective)


def _products(objective: Any, case: Problem) -> Any:
    vector = torch.randn(objective.dimension, device=objective.point.device)
    for _ in range(2):  # the second with a graph that was kept
        image = objective.hessian_product(vector)
    return image


def _eigenvalue(objective: Any, case: Problem) -> Any:
    from landscape.measures import dominant_eigenvalue

    return dominant_eigenvalue(objective, tolerance=TOLERANCE)


def _power(objective: Any, case: Problem) -> Any:
    from landscape.measures import dominant_eigenvalue

    return dominant_eigenvalue(objective, method="power", tolerance=TOLERANCE, max_iterations=ITERATIONS)


def _trace(objective: Any, case: Problem) -> Any:
    from landscape.measures import hessian_trace

    return hessian_trace(objective, max_probes=PROBES)


def _hutchinson(objective: Any, case: Problem) -> Any:
    from landscape.measures import hessian_trace

    return hessian_trace(objective, method="hutchinson", max_probes=PROBES)


def _point(objective: Any, case: Problem) -> Any:
    from landscape.surfaces.sampling import sample_surface

    return sample_surface(objective, "random", points=2, compile=False)


def _step(case: Problem) -> Tensor:
    loss = token_loss(case.model(case.inputs), case.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


def _sgd(case: Problem) -> None:
    optimizer = torch.optim.SGD(case.model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        _step(case)
        optimizer.step()


def _forward(case: Problem) -> Any:
    with torch.no_grad():
        return token_loss(case.model(case.inputs), case.targets)


def _eigenthings(case: Problem) -> Any:
    import hessian_eigenthings

    loss = hessian_eigenthings.supervised_loss(token_loss)
    return hessian_eigenthings.HessianOperator(case.model, case.batches, loss)


def _eigenthings_products(case: Problem) -> Any:
    operator, vector = _eigenthings(case), torch.randn(case.dimension, device=case.inputs.device)
    for _ in range(2):
        image = operator.matvec(vector)
    return image


def _eigenthings_eigenvalue(case: Problem) -> Any:
    import hessian_eigenthings

    operator, found, steps = _eigenthings(case), None, 0
    # It takes as many steps as it is told, by default 2, and says afterwards whether they were enough.
    while found is None or not found.converged.all():
        found, steps = None, steps + STEPS
        found = hessian_eigenthings.lanczos(operator, k=1, max_iter=steps, tol=TOLERANCE, seed=0)
    return found


def _eigenthings_trace(case: Problem) -> Any:
    import hessian_eigenthings

    return hessian_eigenthings.trace(_eigenthings(case), num_matvecs=PROBES, method="hutchinson", seed=0)


def _curvlinops(case: Problem) -> Any:
    from curvlinops import HessianLinearOperator

    weights = list(case.model.parameters())
    return HessianLinearOperator(case.model, token_loss, weights, case.batches, check_deterministic=False)


def _curvlinops_products(case: Problem) -> Any:
    operator, vector = _curvlinops(case), torch.randn(case.dimension, device=case.inputs.device)
    for _ in range(2):
        image = operator @ vector
    return image


def _curvlinops_eigenvalue(case: Problem) -> Any:
    import scipy.sparse.linalg

    operator = _curvlinops(case).to_scipy(dtype=np.float32)
    return scipy.sparse.linalg.eigsh(operator, k=1, which="LM", tol=TOLERANCE, return_eigenvectors=False)


def _curvlinops_trace(case: Problem) -> Any:
    from curvlinops import hutchinson_trace

    return hutchinson_trace(_curvlinops(case), PROBES)


def _pyhessian(case: Problem) -> Any:
    import pyhessian

    return pyhessian.hessian(
        case.model, token_loss, data=(case.inputs, case.targets), cuda=case.inputs.device.type == "cuda"
    )


def _pyhessian_products(case: Problem) -> Any:
    from pyhessian.utils import hessian_vector_product

    operator, vector = _pyhessian(case), [torch.randn_like(p) for p in case.model.parameters()]
    for _ in range(2):
        image = hessian_vector_product(operator.gradsH, operator.params, vector)
    return image


def _all_ours(measure: Callable[[Any, Problem], Any]) -> dict[str, Callable[[Problem], Any]]:
    """A measure of the user's own network, as the peers take theirs, and of a copy, as it is by default."""
    return {OURS: _ours(measure, copy=False), COPIED: _ours(measure)}


OURS, COPIED, FRUGAL = "landscape", "landscape copied", "landscape frugal"
STEP, STEP_SGD = "training step", "SGD step"

TASKS: dict[str, dict[str, Callable[[Problem], Any]]] = {
    "objective": {
        **_all_ours(lambda objective, case: None),
        "hessian-eigenthings": _eigenthings,
        "curvlinops": _curvlinops,
        "PyHessian": _pyhessian,
    },
    "gradient norm": {**_all_ours(_gradient_norm), STEP: _step, STEP_SGD: _sgd},
    "product": {
        **_all_ours(_products),
        "hessian-eigenthings": _eigenthings_products,
        "curvlinops": _curvlinops_products,
        "PyHessian": _pyhessian_products,
    },
    "top-1": {
        **_all_ours(_eigenvalue),
        FRUGAL: _ours(_power, copy=False),
        "hessian-eigenthings": _eigenthings_eigenvalue,
        "curvlinops": _curvlinops_eigenvalue,
        "PyHessian": lambda case: _pyhessian(case).eigenvalues(maxIter=100, tol=TOLERANCE),
    },
    "trace": {
        **_all_ours(_trace),
        FRUGAL: _ours(_hutchinson, copy=False),
        "hessian-eigenthings": _eigenthings_trace,
        "curvlinops": _curvlinops_trace,
        "PyHessian": lambda case: _pyhessian(case).trace(maxIter=PROBES, tol=0.0),
    },
    "surface point": {**_all_ours(_point), "forward pass": _forward},
}
"""What is asked, by the name of the row and of the tool."""
