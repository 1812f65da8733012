"""The weights of batches if the loss does not tell them: determined once, by splitting a few examples in two.

The mean loss of a batch is ``ℓ_b = (1/w_b) Σᵢ wᵢ ℓᵢ`` with a normaliser w_b that is the loss's own: examples, labels
that count, class weights. Only with these weights is ``(1/W) Σ_b w_b ℓ_b`` the same for any partition into batches.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.errors import UsageError, is_out_of_memory
from landscape.losses.loss_functions import BatchLoss, LabelWeights, averages_examples, label_weights
from landscape.losses.outputs import targets_in
from landscape.objective.batch import Batch, leading_size, mapped, moved, rows_in, rows_of
from landscape.objective.risk import Risk
from landscape.reductions import numbers

Weigh = Callable[[Batch], float]
Outcome = Weigh | Literal["no mean", "unknown"]
"""The weights that fit, or why there are none; unknown if the loss could not be evaluated on parts."""

ROWS = 12  # examples that are split: few enough to be cheap, enough for most kinds of label on both sides
TRIALS = 8  # random splits at the most, until one kind of weights is left
TOLERANCE = 1e-4  # between a loss and a mean, relative to it: losses may compute in single precision inside

WAY_OUT = (
    "pass torch's own loss, whose weights are known (torch.nn.CrossEntropyLoss(weight=…), or a functools.partial of "
    "torch.nn.functional.cross_entropy), or landscape.BatchLoss(lambda model, batch: …, weight=lambda batch: what its "
    "mean is divided by), or all examples in one batch"
)


def known_weights(loss: object) -> Weigh | None:
    """What the mean of a batch is divided by, if the loss tells; ``None`` for its number of examples."""
    if isinstance(loss, BatchLoss):
        return loss.weight_of
    rule = label_weights(loss) if averages_examples(loss) else None
    if rule is None:
        return None

    def weigh(batch: Batch) -> float:
        labels = _label_tensor(batch)  # without labels the first checks will say what is wrong
        return float(leading_size(batch)) if labels is None else _sum_of_weights(rule, labels)

    return weigh


def settle_weights(risk: Risk, first: Batch, outputs: Any, targets: Any) -> list[str]:
    """Finds out what the loss of a batch is the mean over, weights the batches by it, and returns notes.

    Outputs and targets are those of the first batch, or ``None`` if the loss hides them.

    Raises:
        UsageError: The loss is a sum; or no mean over examples, so that several batches have no common mean.
    """
    if averages_examples(risk.loss):
        note = getattr(risk.loss, "weighting", "")
        return [note] if note else []
    with risk.randomness(), torch.inference_mode(False), torch.enable_grad():
        if isinstance(risk.loss, BatchLoss):
            outcome = _weights_of_batch_loss(risk, risk.loss, first)
        else:
            outcome = _weights_of_outputs(risk, risk.loss, outputs, targets)
    if callable(outcome):
        if outcome != risk.batches.weight_of:
            risk.batches.weigh(outcome)
    elif outcome == "no mean" and len(risk.batches) > 1:
        if not isinstance(risk.loss, BatchLoss):
            raise UsageError(
                "the loss of a batch is not the mean over its examples, so that no weights put "
                f"{len(risk.batches)} batches together: {WAY_OUT}"
            )
        return [
            "the loss of a batch is not the mean over its examples: numbers depend on how the data are put into batches"
        ]
    return []


def _weights_of_batch_loss(risk: Risk, loss: BatchLoss, first: Batch) -> Outcome:
    """The weights of a loss that takes the network and the batch."""
    weights: list[Weigh] = [risk.batches.weight_of]
    if loss.weight_of is None:
        weights += [_labels, _labels_but_the_first]
    # A batch with ignored labels comes last in the samples, and distinguishes the most kinds of weights.
    batch = next((sample for sample in reversed(risk.batches.samples()) if (rows_in(sample) or 0) > 1), first)
    count = rows_in(batch)
    if count is None or count < 2:
        return "unknown"
    few = rows_of(batch, _some_rows(_label_tensor(batch), count))

    def loss_of(rows: Tensor) -> Tensor:
        return risk.forward(risk.placed(rows_of(few, rows)))[0]

    return _composition(risk, loss_of, few, weights)


def _weights_of_outputs(
    risk: Risk, loss: Callable[[Any, Any], Tensor], outputs: Any, targets: Any
) -> Outcome:
    """The weights of a loss of outputs and targets, without the network: any outputs go with the targets."""
    rule, count = label_weights(loss), rows_in(outputs)
    weights: list[Weigh] = [risk.batches.weight_of, _labels]
    if rule is not None:
        weights.insert(0, lambda batch: _sum_of_weights(rule, _label_tensor(batch)))
    if not count or rows_in(targets) != count:
        return "unknown"
    labels = _some_targets(risk, targets)
    scores = _mixed(outputs, rows_in(labels) or 0)
    outcome: Outcome = "unknown"
    known = mapped(labels, Tensor.cpu)  # where their weights, one by one, are read without waiting
    # Tensors in the closure of a loss may have the precision of the network.
    for dtype in (torch.float64, risk.replica.dtype):
        f, t = mapped(moved((scores, labels), risk.replica.device, dtype), lambda x: x.detach().clone())

        def loss_of(rows: Tensor, f: Any = f, t: Any = t) -> Tensor:
            return loss(rows_of(f, rows), rows_of(t, rows))

        outcome = _composition(risk, loss_of, (known, known), weights)
        if outcome != "unknown":
            break
    return outcome


def _mixed(outputs: Any, count: int) -> Any:
    """So many rows of outputs; of one tensor, means of two of them, so that no two are the same."""
    generator, rows = torch.Generator().manual_seed(0), rows_in(outputs) or 0
    first, second = (torch.randint(0, rows, (count,), generator=generator, device="cpu") for _ in range(2))
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        return rows_of(outputs, first)
    shares = torch.linspace(0.2, 0.8, count, dtype=outputs.dtype, device=outputs.device)
    shares = shares.reshape(-1, *(1,) * (outputs.ndim - 1))
    return shares * rows_of(outputs, first) + (1 - shares) * rows_of(outputs, second)


def _some_targets(risk: Risk, targets: Any) -> Any:
    """A few targets, of the first and the last batch and of one with ignored labels if their shapes agree."""
    if not isinstance(targets, Tensor):
        return rows_of(targets, _some_rows(None, rows_in(targets) or 0))
    samples = [_label_tensor(batch) for batch in risk.batches.samples()]
    alike = [s for s in samples if s is not None and s.ndim and s.shape[1:] == targets.shape[1:]]
    pools = [labels.to(targets.device, targets.dtype) for labels in alike] or [targets]
    return torch.cat([rows_of(pool, _some_rows(pool, len(pool))) for pool in pools])


def _some_rows(labels: Tensor | None, count: int) -> Tensor:
    """Some rows at random, among them those with ignored labels."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0), device="cpu")
    if labels is None or labels.is_floating_point() or len(labels) != count:
        return order[:ROWS]
    ignoring = (labels == LabelWeights().ignored).reshape(count, -1).any(1).cpu()[order]
    some, others = order[ignoring], order[~ignoring]
    share = max(ROWS // 3, ROWS - len(others))
    return torch.cat([some[:share], others])[:ROWS]


def _label_tensor(batch: Batch) -> Tensor | None:
    """The targets of a batch if they are one tensor."""
    labels = targets_in(batch)
    return labels if isinstance(labels, Tensor) else None


def _sum_of_weights(rule: LabelWeights, labels: Tensor | None) -> float:
    if labels is None or not labels.ndim:
        return float("nan")
    return float(rule.each(labels).sum())


def _labels(batch: Batch) -> float:
    """The labels that are not −100."""
    return _sum_of_weights(LabelWeights(), _label_tensor(batch))


def _labels_but_the_first(batch: Batch) -> float:
    """The same without the first of every row, which a model of the next token does not predict."""
    labels = _label_tensor(batch)
    return (
        float("nan") if labels is None or labels.ndim < 2 else _sum_of_weights(LabelWeights(), labels[:, 1:])
    )


def _composition(
    risk: Risk, loss_of: Callable[[Tensor], Tensor], few: Batch, weights: Sequence[Weigh]
) -> Outcome:
    """The weights that make the loss of all rows the mean of those of two parts, however they are split."""
    count = rows_in(few) or 0
    possible, trials, adds, finite = _distinct(few, weights), [], True, False
    for seed in range(TRIALS):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed), device="cpu")
        cut = odd_cut(count)
        try:
            parts = order, order[:cut], order[cut:]
            trial = list(zip(parts, numbers(*map(loss_of, parts)), strict=True))
        except Exception as failure:  # a loss, or its network, may raise anything on a part of a batch
            if isinstance(failure, (RuntimeError, MemoryError)) and is_out_of_memory(failure):
                raise
            return "unknown"
        trials.append(trial)
        scale = max((abs(loss) for _, loss in trial if math.isfinite(loss)), default=0.0)
        if scale == 0.0:
            return "unknown"
        allowed = TOLERANCE * scale + 16 * torch.finfo(risk.replica.dtype).eps
        possible = [
            w for w in possible if _is_mean(trial, [w(rows_of(few, rows)) for rows, _ in trial], allowed)
        ]
        (_, together), (_, a), (_, b) = trial
        adds = adds and abs(a + b - together) <= allowed
        finite = finite or all(math.isfinite(loss) for _, loss in trial)
        if seed and finite and len(possible) < 2:
            break
    if possible:
        return possible[0]
    if adds:
        (_, together), (first, a), (second, b) = trials[0]
        raise UsageError(
            f"the loss of {count} examples is the sum, not the mean, of those of {len(first)} and {len(second)} of "
            f"them ({together:.4g} of {a:.4g} and {b:.4g}); divide it by the number of examples, or pass "
            "reduction='mean'"
        )
    return "no mean" if finite else "unknown"


def odd_cut(count: int) -> int:
    """Half of a number, or one less to make it odd: a loss over pairs of examples is no mean of two odd parts."""
    return max(1, count // 2 - (1 - count // 2 % 2))


def _distinct(few: Batch, weights: Sequence[Weigh]) -> list[Weigh]:
    """The weights without those that are the same on these rows as others before them."""
    distinct: list[Weigh] = []
    seen: list[Tensor] = []
    for weigh in weights:
        rows = [rows_of(few, slice(k, k + 1)) for k in range(rows_in(few) or 0)]
        each = torch.tensor([weigh(row) for row in rows], dtype=torch.float64, device="cpu")
        shares = each / each.sum()
        if not any(torch.allclose(shares, other) for other in seen):
            seen.append(shares)
            distinct.append(weigh)
    return distinct


def _is_mean(trial: Sequence[tuple[Tensor, float]], weights: Sequence[float], allowed: float) -> bool:
    """Whether the first loss is the mean of the two others; a part of weight 0 says nothing."""
    losses = [loss for _, loss in trial]
    parts = [(w, loss) for w, loss in zip(weights[1:], losses[1:], strict=True) if w > 0]
    total = sum(w for w, _ in parts)
    return total > 0 and abs(sum(w * loss for w, loss in parts) / total - losses[0]) <= allowed
