"""The same numbers from independent implementations on the same examples, side by side.

The dense Hessian is that of ``torch.func`` in float64 (up to :data:`DENSE_LIMIT` parameters); ``eigsh`` is scipy's
ARPACK on our products; PyHessian, which is optional, is used as installed, on a copy of the network.
"""

import copy
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape.checkpoints.checkpoint import Checkpoint, Split
from landscape.curvature import hessian
from landscape.data import FixedBatches
from landscape.errors import UsageError
from landscape.isolation.derivatives import twice_differentiable
from landscape.isolation.loaders import loaded
from landscape.isolation.modes import plain_defaults
from landscape.isolation.randomness import private_randomness
from landscape.isolation.switches import no_warnings
from landscape.losses.loss_functions import BatchLoss, Loss
from landscape.losses.outputs import applied, called_with, labelled, prepared_by, scores, wants_scores
from landscape.measures import dominant_eigenvalue, gradient_norm, hessian_trace
from landscape.objective import Objective
from landscape.objective.batch import Batch, copied, moved
from landscape.objective.replica import InputCopies
from landscape.parameters import Selection
from landscape.records.estimate import Estimate
from landscape.registry.extras import install

# Parameters up to which the dense Hessian is formed: 200 MB in float64.
DENSE_LIMIT = 5000
# Its columns at a time: torch.func.hessian keeps the activations of all at once, tens of gigabytes for a transformer.
COLUMNS = 32
# Examples by default, and the tokens that they may have together: a Hessian product with 512 sequences takes minutes.
EXAMPLES, TOKENS = 512, 4096
# Power iteration of PyHessian, which says nothing of its error; where gaps are small, it needs this many products.
ITERATIONS = 500
# Probes of either trace: enough for a standard error to mean something. Traces are compared within these errors, so
# that more probes than that would make the comparison stricter but not more valid, at the price of hours on some
# networks: a relative standard error of 1 % takes thousands where the trace is a small difference of large parts.
PROBES = 50


@dataclass(frozen=True)
class Comparison:
    """One number from two implementations.

    Attributes:
        measure: The name of the measure.
        ours: Our estimate.
        other: The name of the other implementation.
        value: Its number.
        allowed: The largest difference that the errors stated by both explain.
        seconds: The time of the other implementation.
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
        """Whether the difference is within the stated errors."""
        return abs(self.difference) <= self.allowed


def verify(
    checkpoint: Checkpoint,
    *,
    split: Split = "train",
    limit: int | None = None,
    seed: int = 0,
    parameters: Selection = None,
    tell: Callable[[str, float | None], None] | None = None,
) -> Iterator[Comparison]:
    """Compares gradient norm, dominant eigenvalue and trace with every applicable implementation.

    Args:
        checkpoint: The checkpoint to measure.
        split: The examples.
        limit: The number of examples, in one batch: PyHessian averages batches without weights. It is left out if a
            batch is not a pair or the loss is not one of torch's. By default 512, of sequences as many as have 4096
            tokens together.
        seed: Of every random start and probe.
        parameters: Which parameters are free, for every implementation; see :func:`landscape.parameters.layout`.

        tell: Called with a few words about the present computation, and the fraction of it that is done.

    Raises:
        UsageError: PyHessian is not installed.
    """
    batch = _batch(checkpoint, split, limit or EXAMPLES)
    length = 1 if limit else _tokens(batch)
    if length * EXAMPLES > TOKENS and length > 1:
        batch = _batch(checkpoint, split, max(1, TOKENS // length))
    objective = Objective(
        checkpoint.model, checkpoint.loss, [batch], parameters=parameters, processes="alone"
    ).described(model=checkpoint.model_name)
    tell = tell or (lambda words, fraction: None)
    objective.ledger.listener = tell
    tell("our gradient norm", None)
    ours = {
        "gradient-norm": gradient_norm(objective),
        "dominant-eigenvalue": dominant_eigenvalue(objective, method="lanczos", seed=seed),
        "hessian-trace": hessian_trace(objective, tolerance=0.01, max_probes=PROBES, seed=seed),
    }
    if objective.dimension <= DENSE_LIMIT:
        tell("the dense Hessian", None)
        yield from _dense(checkpoint, objective, batch, ours)
    tell("scipy's eigsh", None)
    yield _eigsh(objective, ours["dominant-eigenvalue"], seed)
    plain = wants_scores(checkpoint.loss) and prepared_by(checkpoint.loss) is None
    if isinstance(batch, tuple) and len(batch) == 2 and plain:
        tell(f"PyHessian: at most {ITERATIONS} products, then {PROBES}", None)
        yield from _pyhessian(checkpoint, objective.layout.names, batch, ours, seed)


def _batch(checkpoint: Checkpoint, split: Split, limit: int) -> Batch:
    """So many examples in one batch."""
    has_batches = isinstance(checkpoint.data.split(split), FixedBatches)
    batches, _ = checkpoint.batches(split, limit=None if has_batches else limit, batch_size=limit)
    batch = next(loaded(cast(Iterable[Any], batches)))
    return tuple(batch) if isinstance(batch, list) else batch


def _tokens(batch: Batch) -> int:
    """The length of the sequences of token numbers in a batch; 1 if there are none."""
    inputs = batch[0] if isinstance(batch, tuple) else batch
    inputs = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    is_sequences = isinstance(inputs, Tensor) and inputs.ndim == 2 and not inputs.is_floating_point()
    return inputs.shape[1] if is_sequences else 1


def _compared(
    ours: Estimate, other: str, value: float, seconds: float, *, error: float = 0.0, relative: float = 1e-4
) -> Comparison:
    """Allows four standard errors of both together, our residual, and the rounding of single precision."""
    statistical = 4 * math.hypot(ours.standard_error or 0.0, error)
    residual = ours.details.get("residual", 0.0)
    assert isinstance(residual, float)
    allowed = statistical + residual + relative * abs(ours.value)
    return Comparison(ours.measure, ours, other, value, allowed, seconds)


def _dense(
    checkpoint: Checkpoint, objective: Objective, batch: Batch, ours: dict[str, Estimate]
) -> Iterator[Comparison]:
    start = time.perf_counter()
    network = _WithLoss(copy.deepcopy(checkpoint.model).double(), checkpoint.loss).requires_grad_(False)
    fixed = dict(network.named_buffers())
    placed = moved(batch, torch.device("cpu"), torch.float64)

    def loss(theta: Tensor) -> Tensor:
        named = {f"model.{name}": part for name, part in objective.layout.named(theta).items()}
        value: Tensor = called_with(network, {**fixed, **named}, copied(placed))
        return value

    def column(direction: Tensor) -> Tensor:
        product: Tensor = torch.func.jvp(torch.func.grad(loss), (point,), (direction,))[1]
        return product

    point = objective.point.double().cpu()
    with twice_differentiable():  # fused attention has no second derivative
        gradient = torch.func.grad(loss)(point)
        matrix = torch.func.vmap(column, chunk_size=COLUMNS)(
            torch.eye(len(point), dtype=torch.float64, device="cpu")
        )
    spectrum = torch.linalg.eigvalsh(matrix)
    seconds = time.perf_counter() - start
    truth = {
        "gradient-norm": gradient.norm(),
        "dominant-eigenvalue": spectrum[spectrum.abs().argmax()],
        "hessian-trace": matrix.trace(),
    }
    for name, value in truth.items():
        yield _compared(ours[name], "dense float64", float(value), seconds)


class _WithLoss(nn.Module):
    """From a batch to its loss, so that one call replaces the weights of the network wherever the loss uses it."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        if isinstance(self.loss, BatchLoss):
            result = self.loss.fn(self.model, batch)
            mean: Tensor = result[0] if isinstance(result, tuple) else result
            return mean
        inputs, targets = (prepared_by(self.loss) or labelled)(batch)
        outputs = applied(self.model, inputs)
        return self.loss(scores(outputs)[0] if wants_scores(self.loss) else outputs, targets)


def _eigsh(objective: Objective, ours: Estimate, seed: int) -> Comparison:
    start = time.perf_counter()
    operator = hessian(objective)

    def product(vector: NDArray[Any]) -> object:
        return (operator @ torch.from_numpy(vector.reshape(-1)).to(objective.point)).double().cpu().numpy()

    # ARPACK iterates in float64 also where our products are single, so that only these limit its accuracy.
    linear = scipy.sparse.linalg.LinearOperator(operator.shape, matvec=product, dtype=np.float64)
    v0 = np.random.default_rng(seed).standard_normal(operator.dimension)
    (value,) = scipy.sparse.linalg.eigsh(linear, k=1, which="LM", v0=v0, tol=1e-5, return_eigenvectors=False)
    return _compared(ours, "scipy eigsh", float(value), time.perf_counter() - start, relative=1e-3)


def _pyhessian(
    checkpoint: Checkpoint,
    free: Collection[str],
    batch: tuple[Any, ...],
    ours: dict[str, Estimate],
    seed: int,
) -> Iterator[Comparison]:
    """PyHessian on a copy in which only the ``free`` parameters require a gradient: it takes all that do."""
    try:
        import pyhessian
    except ImportError:
        raise UsageError(f"PyHessian is not installed; {install('verify')} adds it") from None
    # PyHessian draws from the global generators, and torch warns of its backward(create_graph=True).
    defaults = plain_defaults(next(checkpoint.model.parameters()).dtype)
    with defaults, torch.enable_grad(), twice_differentiable(), private_randomness(seed=seed), no_warnings:
        model = copy.deepcopy(checkpoint.model)
        for name, parameter in model.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(name in free)
        InputCopies().install(model)
        # It passes what the network returns to the loss, which takes a tensor.
        model.register_forward_hook(lambda module, inputs, outputs: scores(outputs)[0])
        peer = pyhessian.hessian(model, checkpoint.loss, data=batch, cuda=False)
        start = time.perf_counter()
        (value,), _ = peer.eigenvalues(maxIter=ITERATIONS, tol=1e-5)
        middle = time.perf_counter()
        # With a tolerance of 0 it draws all probes: its own rule stops on the change of the mean, far too early.
        samples = np.array(peer.trace(maxIter=PROBES, tol=0.0))
        end = time.perf_counter()
    error = float(samples.std(ddof=1) / math.sqrt(len(samples)))
    eigenvalue, trace = ours["dominant-eigenvalue"], ours["hessian-trace"]
    yield _compared(eigenvalue, "PyHessian", float(value), middle - start, relative=1e-3)
    yield _compared(trace, "PyHessian", float(samples.mean()), end - middle, error=error)
