"""Loss and accuracy at many points of one plane, by the quickest forward passes that give the same value.

Convolutions take in the batch norms behind them (``folding``), or also the sums and ReLUs (``fusing``). Images in the
memory order that convolutions prefer (channels last) save their reordering. None wins everywhere: the first batch of a
point is computed each way, and a way that loses or disagrees is not taken.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from landscape.isolation import private_randomness, without_gradients
from landscape.objective import Objective
from landscape.objective.batches import KEPT_BYTES, moved
from landscape.objective.replica import Replica
from landscape.objective.risk import BatchLoss, Risk
from landscape.surfaces.folding import fold, overwrite, traced
from landscape.surfaces.fusing import available, fuse
from landscape.surfaces.no_overflow import NoOverflow

Way = Literal["plain", "channels-last", "folded", "folded-channels-last", "fused"]
WAYS: tuple[Way, ...] = get_args(Way)

Evaluate = Callable[[Tensor], tuple[float, float | None]]
Placed = tuple[float, Tensor, Tensor]


class Refreshed(Protocol):
    """What holds weights that are computed from those of the network."""

    def refresh(self) -> None:
        """Takes over the weights from where the network stands now."""


@dataclass(frozen=True)
class _Network:
    """A network in one of the ways.

    Attributes:
        module: What is called.
        renewed: What has to be renewed at each point, in this order.
        at_once: How many examples go through it together; ``None`` for whole batches.
        proof: That its outputs are right, if that has to be shown at each point.
    """

    module: nn.Module
    renewed: list[Refreshed]
    at_once: int | None = None
    proof: NoOverflow | None = None

    def __call__(self, inputs: Tensor) -> Any:
        """Its outputs."""
        if self.at_once is None or len(inputs) <= self.at_once:
            return self.module(inputs)
        return torch.cat([self.module(part) for part in torch.split(inputs, self.at_once)])


WORTHWHILE = 20_000_000
"""Examples times parameters of a point below which it is computed in the plain way: nothing is to be won."""

_AGREEMENT = 1e-5
_PREFERRED: tuple[Way, ...] = ("fused", "folded-channels-last", "folded", "channels-last")
_TRIALS = 2
_AT_ONCE = 128


def evaluation(objective: Objective, way: Way) -> Evaluate | None:
    """The function point ``(n,)`` → loss and accuracy; ``None`` where that way is not possible."""
    if way == "plain":
        return objective.evaluate
    objective._risk.check(objective.point, constant=True)
    if isinstance(objective._risk.loss, BatchLoss) or objective._risk.writes_inputs:
        return None
    batches = _placed(objective._risk, channels_last="channels-last" in way or way == "fused")
    if batches is None:
        return None
    network = _network(objective._risk.replica, way, batches)
    return None if network is None else _passes(objective, batches, network)


def quickest(objective: Objective, point: Tensor) -> Way:
    """The first way, of those that should be quick, which gives the same loss at ``point`` and is no slower there.

    What should be quick is fixed, and time only decides against it, so that on an even load the same is chosen each
    time. Both are seen on the first batch.
    """
    if objective.num_examples * objective.dimension < WORTHWHILE:
        return "plain"
    # The pass that recalibrates batch norm costs every way the same.
    first = next(objective.at_fixed_statistics().per_batch())
    expected, limit = _timed(first.evaluate, point)
    for way in _PREFERRED:
        try:
            evaluate = evaluation(first, way)
            if evaluate is None:
                continue
            found, seconds = _timed(evaluate, point)
        except Exception:  # a private function of torch that has changed: the plain way knows none
            continue
        if abs(found - expected) <= _AGREEMENT * max(1.0, abs(expected)) and seconds < limit:
            return way
    return "plain"


def _timed(evaluate: Evaluate, point: Tensor) -> tuple[float, float]:
    """The loss, and the least of the seconds that it took."""
    loss, _ = evaluate(point)
    least = float("inf")
    for _ in range(_TRIALS):
        start = time.perf_counter()
        evaluate(point)
        least = min(least, time.perf_counter() - start)
    return loss, least


def _network(replica: Replica, way: Way, batches: list[Placed]) -> _Network | None:
    """The network as it computes in that way; ``None`` if it cannot."""
    if way == "channels-last":
        return _Network(replica.model, [])
    if way == "fused" and not (replica.device.type == "cpu" and available()):
        return None
    graph = traced(replica.model)
    if graph is None:
        return None
    renewed: list[Refreshed] = [*fold(graph, channels_last=way == "folded-channels-last")]
    if way != "fused":
        overwrite(graph)
        return _Network(graph, renewed) if renewed else None
    inputs = batches[0][1]
    pair = torch.cat([inputs[:1], inputs[-1:]])
    with without_gradients(), private_randomness(replica.device):
        for each in renewed:
            each.refresh()
        convolutions = fuse(graph, pair)
        if not convolutions:
            return None
        overwrite(graph)
        for convolution in convolutions:
            convolution.refresh()
        at_once = _AT_ONCE if _one_by_one(graph, pair) else None
        proof = NoOverflow(graph, max(float(inputs.abs().max()) for _, inputs, _ in batches))
    return _Network(graph, [*renewed, *convolutions, proof], at_once, proof)


def _one_by_one(module: nn.Module, pair: Tensor) -> bool:
    """Whether the output of an example does not depend on the others in its batch."""
    together, apart = module(pair), torch.cat([module(pair[:1]), module(pair[1:])])
    return torch.allclose(together, apart, rtol=0, atol=1e-5 * float(together.abs().max()))


def _passes(objective: Objective, batches: list[Placed], network: _Network) -> Evaluate:
    risk = objective._risk
    total, loss_of, replica = risk.batches.total_weight, risk.loss, risk.replica
    assert not isinstance(loss_of, BatchLoss)

    def evaluate(point: Tensor) -> tuple[float, float | None]:
        loss = torch.zeros((), dtype=torch.float64, device=replica.device)
        labels: list[Tensor] = []
        with without_gradients(), risk.randomness():
            risk.stand(point, constant=False)
            for each in network.renewed:
                each.refresh()
            for risk.weight, inputs, targets in batches:
                outputs = network(inputs)
                if network.proof is not None and not network.proof.held():
                    break
                loss += loss_of(outputs, targets).double() * (risk.weight / total)
                parts = [part * risk.weight for part in risk.correct(outputs, targets)]
                labels = [a + b for a, b in zip(labels, parts, strict=True)] if labels else parts
            else:
                everything = risk.batches.num_examples
                risk.ledger.total = max(risk.ledger.total, everything)
                risk.ledger.counts.update({"evaluations": everything})
                right, counted = (round(float(one)) for one in labels) if labels else (0, 0)
                return float(loss), right / counted if counted else None
        return objective.evaluate(point)

    return evaluate


def _placed(risk: Risk, *, channels_last: bool) -> list[Placed] | None:
    """The batches where the network is, once for all points; ``None`` if they are too many or of another kind."""
    found: list[Placed] = []
    held = 0
    for _, batch in risk.batches:
        placed = moved(batch, risk.replica.device, risk.replica.dtype)
        if not (
            isinstance(placed, tuple) and len(placed) == 2 and all(isinstance(p, Tensor) for p in placed)
        ):
            return None
        inputs, targets = placed
        if channels_last:
            if inputs.ndim != 4:
                return None
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        held += inputs.numel() * inputs.element_size()
        if held > KEPT_BYTES:
            return None
        found.append((risk.batches.weight_of(batch), inputs, targets))
    return found
