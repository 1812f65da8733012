"""The same numbers from independent implementations on the same examples, side by side.

The dense Hessian is that of ``torch.func`` in float64 (up to :data:`DENSE_LIMIT` parameters); ``eigsh`` is scipy's
ARPACK on our products; PyHessian is used as installed, on a copy of the network, and is optional.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor, nn

from landscape.checkpoints.checkpoint import Checkpoint, Split
from landscape.curvature import hessian
from landscape.data import FixedBatches
from landscape.errors import UsageError
from landscape.isolation import no_warnings, private_randomness
from landscape.measures import dominant_eigenvalue, gradient_norm, hessian_trace
from landscape.objective import Objective
from landscape.objective.batches import Batch, copied, moved
from landscape.objective.outputs import applied, called_with, labelled, scores, wants_scores
from landscape.objective.replica import InputCopies
from landscape.objective.risk import BatchLoss, Loss
from landscape.records.estimate import Estimate

DENSE_LIMIT = 5000
"""Parameters up to which the dense Hessian is formed."""

PROBES = 50
"""Probes for PyHessian's trace: enough for its standard error to mean something."""


@dataclass(frozen=True)
class Comparison:
    """One number from two implementations.

    Attributes:
        measure: What.
        ours: Our estimate.
        other: Name of the other implementation.
        value: Its number.
        allowed: The largest difference that the errors stated by both explain.
        seconds: What the other took.
    """

    measure: str
    ours: Estimate
    other: str
    value: float
    allowed: float
    seconds: float

    @property
    def difference(self) -> float:
        """The other's number minus ours."""
        return self.value - self.ours.value

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what the stated errors explain."""
        return abs(self.difference) <= self.allowed


def verify(
    checkpoint: Checkpoint, *, split: Split = "train", limit: int = 512, seed: int = 0
) -> Iterator[Comparison]:
    """Compares gradient norm, dominant eigenvalue and trace with every implementation at hand.

    Args:
        checkpoint: What to measure.
        split: On which examples.
        limit: How many, as one batch: PyHessian averages batches without weights. It is left out where a batch is
            not a pair or the loss is not one of torch's.
        seed: Of every random start and probe.

    Raises:
        UsageError: PyHessian is not installed.
    """
    made = isinstance(checkpoint.data.split(split), FixedBatches)
    batches, _ = checkpoint.batches(split, limit=None if made else limit, batch_size=limit)
    batch = next(iter(batches))
    batch = tuple(batch) if isinstance(batch, list) else batch
    objective = Objective(checkpoint.model, checkpoint.loss, [batch])
    ours = {
        "gradient-norm": gradient_norm(objective),
        "dominant-eigenvalue": dominant_eigenvalue(objective, method="lanczos", seed=seed),
        "hessian-trace": hessian_trace(objective, tolerance=0.01, seed=seed),
    }
    if objective.dimension <= DENSE_LIMIT:
        yield from _dense(checkpoint, objective, batch, ours)
    yield _eigsh(objective, ours["dominant-eigenvalue"], seed)
    if isinstance(batch, tuple) and len(batch) == 2 and wants_scores(checkpoint.loss):
        yield from _pyhessian(checkpoint, batch[0], batch[1], ours, seed)


def _allowed(ours: Estimate, *, error: float = 0.0, relative: float = 1e-4) -> float:
    """Four standard errors of both together, our residual, and what single precision leaves."""
    statistical = 4 * math.hypot(ours.standard_error or 0.0, error)
    residual = ours.details.get("residual", 0.0)
    assert isinstance(residual, float)
    return statistical + residual + relative * abs(ours.value)


def _dense(
    checkpoint: Checkpoint, objective: Objective, batch: Batch, ours: dict[str, Estimate]
) -> Iterator[Comparison]:
    start = time.perf_counter()
    whole = _Whole(copy.deepcopy(checkpoint.model).double(), checkpoint.loss)
    fixed = dict(whole.named_buffers())
    placed = moved(batch, torch.device("cpu"), torch.float64)

    def loss(theta: Tensor) -> Tensor:
        named = {f"model.{name}": part for name, part in objective.layout.named(theta).items()}
        found: Tensor = called_with(whole, {**fixed, **named}, copied(placed))
        return found

    point = objective.point.double().cpu()
    gradient = torch.func.grad(loss)(point)
    matrix = torch.func.hessian(loss)(point)
    spectrum = torch.linalg.eigvalsh(matrix)
    seconds = time.perf_counter() - start
    truth = {
        "gradient-norm": gradient.norm(),
        "dominant-eigenvalue": spectrum[spectrum.abs().argmax()],
        "hessian-trace": matrix.trace(),
    }
    for name, value in truth.items():
        yield Comparison(
            name, ours[name], "dense float64 Hessian", float(value), _allowed(ours[name]), seconds
        )


class _Whole(nn.Module):
    """From a batch to its loss, as one function of the weights."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        if isinstance(self.loss, BatchLoss):
            found = self.loss.fn(self.model, batch)
            mean: Tensor = found[0] if isinstance(found, tuple) else found
            return mean
        inputs, targets = labelled(batch)
        outputs = applied(self.model, inputs)
        return self.loss(scores(outputs)[0] if wants_scores(self.loss) else outputs, targets)


def _eigsh(objective: Objective, ours: Estimate, seed: int) -> Comparison:
    start = time.perf_counter()
    operator = hessian(objective)

    def product(vector: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> object:
        return (operator @ torch.from_numpy(vector.reshape(-1)).to(objective.point)).double().cpu().numpy()

    linear = scipy.sparse.linalg.LinearOperator((operator.dimension,) * 2, matvec=product, dtype=np.float64)
    v0 = np.random.default_rng(seed).standard_normal(operator.dimension)
    (value,) = scipy.sparse.linalg.eigsh(linear, k=1, which="LM", v0=v0, tol=1e-5, return_eigenvectors=False)
    seconds = time.perf_counter() - start
    return Comparison(
        "dominant-eigenvalue", ours, "scipy eigsh", float(value), _allowed(ours, relative=1e-3), seconds
    )


def _pyhessian(
    checkpoint: Checkpoint, inputs: Tensor, targets: Tensor, ours: dict[str, Estimate], seed: int
) -> Iterator[Comparison]:
    try:
        from pyhessian import hessian as peer
    except ImportError:
        raise UsageError(
            "PyHessian is not installed; add it with pip install 'landscape-geometry[verify]'"
        ) from None
    build: Callable[..., object] = peer
    # PyHessian draws from the global generators, and torch warns of its backward(create_graph=True).
    with private_randomness(seed=seed), no_warnings:
        model = copy.deepcopy(checkpoint.model)
        for parameter in model.parameters():
            parameter.grad = None
        InputCopies().install(model)
        found = build(model, checkpoint.loss, data=(inputs, targets), cuda=False)
        start = time.perf_counter()
        (value,), _ = found.eigenvalues(maxIter=500, tol=1e-5)  # type: ignore[attr-defined]
        middle = time.perf_counter()
        samples = np.array(found.trace(maxIter=PROBES, tol=0.0))  # type: ignore[attr-defined]
        end = time.perf_counter()
    eigenvalue, trace = ours["dominant-eigenvalue"], ours["hessian-trace"]
    yield Comparison(
        eigenvalue.measure,
        eigenvalue,
        "PyHessian",
        float(value),
        _allowed(eigenvalue, relative=1e-3),
        middle - start,
    )
    error = float(samples.std(ddof=1) / math.sqrt(len(samples)))
    yield Comparison(
        trace.measure,
        trace,
        "PyHessian",
        float(samples.mean()),
        _allowed(trace, error=error),
        end - middle,
    )
