"""By what the batches are weighted, where the loss does not tell: found by taking a few examples apart, once.

The mean loss of a batch is ``ℓ_b = (1/w_b) Σᵢ wᵢ ℓᵢ`` with a normaliser w_b that is the loss's own: examples, labels
that count, class weights. Only with these weights is ``(1/W) Σ_b w_b ℓ_b`` the same for any partition into batches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from landscape.errors import UsageError, is_out_of_memory
from landscape.objective.batches import Batch, leading_size, mapped, moved, rows_in, rows_of
from landscape.objective.loss_functions import BatchLoss, LabelWeights, averages_examples, label_weights
from landscape.objective.outputs import LABELS

if TYPE_CHECKING:
    from landscape.objective.risk import Risk

Weigh = Callable[[Batch], float]
Outcome = int | Literal["none", "unknown"]
"""The number of the weights that fit; or that the loss is no mean, or could not be tried."""

ROWS = 12
"""Examples that are taken apart."""

TRIALS = 8
"""At most so many random parts, until one kind of weights is left."""

TOLERANCE = 1e-4
"""By how much a loss may differ from a mean, relative to it; losses may compute in single precision inside."""

WAY_OUT = (
    "pass torch's own loss, whose weights are known (torch.nn.CrossEntropyLoss(weight=…), or a functools.partial of "
    "torch.nn.functional.cross_entropy), or landscape.BatchLoss(lambda model, batch: …, weight=lambda batch: what its "
    "mean is divided by), or all examples in one batch"
)


def known_weights(loss: object) -> Weigh | None:
    """What the mean of a batch is divided by, where the loss tells; ``None`` for its number of examples."""
    if isinstance(loss, BatchLoss):
        return loss.weight_of
    rule = label_weights(loss) if averages_examples(loss) else None
    return None if rule is None else lambda batch: _by_rule(rule, batch)


def _by_rule(rule: LabelWeights, batch: Batch) -> float:
    labels = _label_tensor(batch)  # without labels the first look will say what is wrong
    return float(leading_size(batch)) if labels is None else _weighed(rule, labels)


def settle_weights(risk: "Risk", first: Batch, outputs: Any, targets: Any) -> None:
    """Finds out what the loss of a batch is the mean over, and weights the batches by it.

    Args:
        risk: Network, loss and data; gets notes, and its batches their weights.
        first: The first batch, as it came.
        outputs: What the network returned for it; ``None`` where the loss hides it.
        targets: Likewise.

    Raises:
        UsageError: The loss is a sum; or no mean over examples, so that several batches have no common mean.
    """
    if averages_examples(risk.loss):
        return
    with risk.randomness(), torch.inference_mode(False), torch.enable_grad():
        if isinstance(risk.loss, BatchLoss):
            outcome, weights = _of_batches(risk, first)
        else:
            outcome, weights = _of_outputs(risk, outputs, targets)
    if outcome == "none" and len(risk.batches) > 1:
        if not isinstance(risk.loss, BatchLoss):
            raise UsageError(
                "the loss of a batch is not the mean over its examples, so that no weights put "
                f"{len(risk.batches)} batches together: {WAY_OUT}"
            )
        risk.notes.append(
            "the loss of a batch is not the mean over its examples: numbers depend on how the data are put into batches"
        )
    weigh = weights[outcome] if isinstance(outcome, int) else None
    if weigh is not None:
        risk.batches.weigh(weigh)


def _of_batches(risk: "Risk", first: Batch) -> tuple[Outcome, list[Weigh | None]]:
    """Of a loss that takes the network and the batch; ``None`` stands for the weights that batches have."""
    assert isinstance(risk.loss, BatchLoss)
    weights: list[Weigh | None] = [None]
    if risk.loss.weight_of is None:
        weights += [_labels, _labels_but_the_first]
    batch = next((one for one in reversed(risk.batches.samples()) if (rows_in(one) or 0) > 1), first)
    count = rows_in(batch)
    if count is None or count < 2:
        return "unknown", weights
    few = rows_of(batch, _chosen(_label_tensor(batch), count))

    def loss_of(rows: Tensor) -> float:
        return float(risk.forward(risk.placed(rows_of(few, rows)))[0].detach())

    return _composition(risk, loss_of, few, weights), weights


def _of_outputs(risk: "Risk", outputs: Any, targets: Any) -> tuple[Outcome, list[Weigh | None]]:
    """Of a loss of outputs and targets, without the network: a few outputs go with targets of several batches."""
    rule, loss, count = label_weights(risk.loss), risk.loss, rows_in(outputs)
    weights: list[Weigh | None] = [None, _labels]
    if rule is not None:
        weights.insert(0, lambda batch: _weighed(rule, _label_tensor(batch)))
    if not count or rows_in(targets) != count or isinstance(loss, BatchLoss):
        return "unknown", weights
    shown = _targets(risk, targets)
    several = _mixed(outputs, rows_in(shown) or 0)
    outcome: Outcome = "unknown"
    # Tensors in the closure of a loss may have the precision of the network.
    for dtype in (torch.float64, risk.replica.dtype):
        f = _detached(several, risk.replica.device, dtype)
        t = _detached(shown, risk.replica.device, dtype)

        def loss_of(rows: Tensor, f: Any = f, t: Any = t) -> float:
            return float(loss(rows_of(f, rows), rows_of(t, rows)).detach())

        outcome = _composition(risk, loss_of, (shown, shown), weights)
        if outcome != "unknown":
            break
    return outcome, weights


def _mixed(outputs: Any, count: int) -> Any:
    """So many rows of outputs; of one tensor, means of two of them, so that no two are the same."""
    generator, rows = torch.Generator().manual_seed(0), rows_in(outputs) or 0
    first, second = (torch.randint(0, rows, (count,), generator=generator) for _ in range(2))
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        return rows_of(outputs, first)
    shares = torch.linspace(0.2, 0.8, count, dtype=outputs.dtype, device=outputs.device)
    shares = shares.reshape(-1, *(1,) * (outputs.ndim - 1))
    return shares * rows_of(outputs, first) + (1 - shares) * rows_of(outputs, second)


def _detached(values: Any, device: torch.device, dtype: torch.dtype) -> Any:
    return mapped(moved(values, device, dtype), lambda tensor: tensor.detach().clone())


def _targets(risk: "Risk", targets: Any) -> Any:
    """A few targets, of the first and the last batch and of one with ignored labels where they are alike."""
    pools = [targets]
    if isinstance(targets, Tensor):
        shown = [_label_tensor(batch) for batch in risk.batches.samples()]
        alike = [one for one in shown if one is not None and one.shape[1:] == targets.shape[1:]]
        pools = [one.to(targets.device, targets.dtype) for one in alike if one.ndim] or pools
    parts = [
        rows_of(pool, _chosen(pool if isinstance(pool, Tensor) else None, rows_in(pool) or 0))
        for pool in pools
    ]
    return torch.cat(parts) if isinstance(targets, Tensor) else parts[0]


def _chosen(labels: Tensor | None, count: int) -> Tensor:
    """Some rows at random, among them those with ignored labels."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    if labels is None or labels.is_floating_point() or len(labels) != count:
        return order[:ROWS]
    ignoring = (labels == LabelWeights().ignored).reshape(count, -1).any(1).cpu()[order]
    some, others = order[ignoring], order[~ignoring]
    share = max(ROWS // 3, ROWS - len(others))
    return torch.cat([some[:share], others])[:ROWS]


def _label_tensor(batch: Batch) -> Tensor | None:
    """The targets of a batch, where they are one tensor."""
    if isinstance(batch, Mapping):
        found = next((batch[key] for key in LABELS if key in batch), None)
    else:
        found = batch[1] if isinstance(batch, (tuple, list)) and len(batch) == 2 else None
    return found if isinstance(found, Tensor) else None


def _weighed(rule: LabelWeights, labels: Tensor | None) -> float:
    if labels is None or not labels.ndim:
        return float("nan")
    return float(rule.each(labels).sum())


def _labels(batch: Batch) -> float:
    """The labels that are not −100."""
    return _weighed(LabelWeights(), _label_tensor(batch))


def _labels_but_the_first(batch: Batch) -> float:
    """The same without the first of every row, which a model of the next token does not predict."""
    labels = _label_tensor(batch)
    return float("nan") if labels is None or labels.ndim < 2 else _weighed(LabelWeights(), labels[:, 1:])


def _composition(
    risk: "Risk", loss_of: Callable[[Tensor], float], few: Batch, weights: Sequence[Weigh | None]
) -> Outcome:
    """Which weights make the loss of all rows the mean of those of two parts, whatever the parts are."""
    count = rows_in(few) or 0
    possible, trials, adds, finite = _different(risk, few, weights), [], True, False
    for seed in range(TRIALS):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        cut = max(1, count // 2 - (1 - count // 2 % 2))
        try:
            trial = [(rows, loss_of(rows)) for rows in (order, order[:cut], order[cut:])]
        except Exception as failure:  # a loss, or its network, may raise anything on a part of a batch
            if isinstance(failure, (RuntimeError, MemoryError)) and is_out_of_memory(failure):
                raise
            return "unknown"
        trials.append(trial)
        scale = max((abs(loss) for _, loss in trial if math.isfinite(loss)), default=0.0)
        if scale == 0.0:
            return "unknown"
        allowed = TOLERANCE * scale + 16 * torch.finfo(risk.replica.dtype).eps
        shares = {k: [weigh(rows_of(few, rows)) for rows, _ in trial] for k, weigh in possible.items()}
        possible = {k: weigh for k, weigh in possible.items() if _is_mean(trial, shares[k], allowed)}
        (_, whole), (_, a), (_, b) = trial
        adds = adds and abs(a + b - whole) <= allowed
        finite = finite or all(math.isfinite(loss) for _, loss in trial)
        if seed and finite and len(possible) < 2:
            break
    if possible:
        return min(possible)
    if adds:
        (_, whole), (first, a), (second, b) = trials[0]
        raise UsageError(
            f"the loss of {count} examples is the sum, not the mean, of those of {len(first)} and {len(second)} of "
            f"them ({whole:.4g} of {a:.4g} and {b:.4g}); divide it by the number of examples, or pass reduction='mean'"
        )
    return "none" if finite else "unknown"


def _different(risk: "Risk", few: Batch, weights: Sequence[Weigh | None]) -> dict[int, Weigh]:
    """The weights by their numbers, but for those that are the same on these rows as others before them."""
    found: dict[int, Weigh] = {}
    seen: list[Tensor] = []
    for number, weigh in enumerate(weights):
        weight = weigh or risk.batches.weight_of
        rows = range(rows_in(few) or 0)
        each = torch.tensor([weight(rows_of(few, slice(k, k + 1))) for k in rows], dtype=torch.float64)
        shares = each / each.sum()
        if not any(torch.allclose(shares, other) for other in seen):
            seen.append(shares)
            found[number] = weight
    return found


def _is_mean(trial: Sequence[tuple[Tensor, float]], weights: Sequence[float], allowed: float) -> bool:
    """Whether the first loss is the mean of the two others; a part of weight 0 says nothing."""
    whole, parts = (
        trial[0][1],
        [(w, loss) for w, (_, loss) in zip(weights[1:], trial[1:], strict=True) if w > 0],
    )
    total = sum(w for w, _ in parts)
    return total > 0 and abs(sum(w * loss for w, loss in parts) / total - whole) <= allowed
