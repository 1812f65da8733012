"""Whether the loss of a batch is the weighted mean over examples that do not see each other.

Everything that takes a batch apart relies on it: micro-batches, gradients of single examples, probes for every example.
A check of one half or of one example has blind spots: pairs, groups of one size, an order, a branch whose weight is
zero. So rows are drawn at random and cut at an odd place, at θ and at a displaced point, and outputs are compared as
well as derivatives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.draws import Draws
from landscape.errors import ProcessFailed, is_out_of_memory
from landscape.isolation.derivatives import twice_differentiable
from landscape.objective.autograd_graph import gradient_of
from landscape.objective.batch import Batch, rows_in, rows_of
from landscape.objective.loss_weights import odd_cut
from landscape.objective.risk import Risk
from landscape.reductions import norm, numbers

MOST = 128  # rows of a batch that are examined together
FEW = 5  # rows whose gradients are computed one by one
SHIFT = 0.05  # displacement of the second point, relative to the size of a parameter tensor; absolute if that is 0

ELEMENTS = 1 << 24  # outputs of these rows, at the most: those of a language model are large

MIXED = "the outputs of an example depend on the other examples (as with batch norm in batch mode)"
NO_MEAN = "its loss is not the mean over its examples"


@dataclass(frozen=True)
class Independence:
    """Whether examples are independent of each other."""

    reason: str = ""  # why the examples of a batch cannot be taken apart; empty if they can
    mixed: bool = False  # whether they see each other; otherwise it is unknown which tensors are examples

    @property
    def holds(self) -> bool:
        """Whether a batch can be taken apart."""
        return not self.reason


def examined(risk: Risk) -> Independence:
    """Splits the first batch, where the network stands and at a displaced point, and moves the network back."""
    batch = _first_of_several_rows(risk)
    if batch is None:
        return Independence("it is not made of tensors with a row an example")
    if (rows_in(batch) or 0) < 2:
        return Independence()
    size = min(rows_in(batch) or 0, _most(risk))
    order = torch.randperm(rows_in(batch) or 0, generator=torch.Generator().manual_seed(0), device="cpu")
    try:
        with (
            risk.replica.elsewhere() as point,
            risk.randomness(),
            twice_differentiable(),
            risk.replica.shards.saving(),
        ):
            while True:
                try:
                    reason = _difference_of_parts(risk, rows_of(batch, order[:size]))
                    reason = reason or _difference_of_slopes(
                        risk, rows_of(batch, order[: min(size, FEW)]), point
                    )
                    return Independence(reason, mixed=bool(reason))
                except (RuntimeError, MemoryError) as failure:
                    if not is_out_of_memory(failure) or not risk.replica.shards.group.alone:
                        raise
                # Outside of `except`: the failure, and every tensor that its frames held, is gone here.
                if size <= 2:
                    return Independence()
                size //= 2
    except Exception as failure:  # a network may raise anything on a part of a batch
        if is_out_of_memory(failure) or isinstance(failure, ProcessFailed):
            raise
        words = (str(failure).strip().splitlines() or [""])[0][:100]
        return Independence(
            f"a part of a batch cannot be evaluated by itself ({type(failure).__name__}: {words})", mixed=True
        )


def _most(risk: Risk) -> int:
    """The rows that are examined together."""
    outputs = risk.checks.outputs
    if outputs is None or not outputs.ndim:
        return MOST
    return max(2, min(MOST, ELEMENTS // max(1, math.prod(outputs.shape[1:]))))


def _first_of_several_rows(risk: Risk) -> Batch | None:
    """The first batch of more than one row; the first of all if there is none, ``None`` if one has no rows."""
    first = None
    for _, batch in risk.batches.leading():
        rows = rows_in(batch)
        if rows is None:
            return None
        if rows > 1:
            return batch
        first = batch if first is None else first
    return first


def _difference_of_parts(risk: Risk, batch: Batch) -> str:
    """What differs between a batch in a random order and its two parts; empty if nothing does."""
    count = rows_in(batch) or 0
    cut = odd_cut(count)
    parts = [rows_of(batch, rows) for rows in (slice(0, cut), slice(cut, count))]
    with torch.no_grad():
        values, (together, *apart) = zip(*(_evaluated(risk, b) for b in (batch, *parts)), strict=True)
    by_row = together is not None and len(together) == count
    if by_row and _differ(together, apart):
        return _differ(together, apart)
    losses, weights = numbers(*values), [risk.batches.weight_of(part) for part in parts]
    if not sum(weights) > 0:
        return ""
    mean = sum(w * loss for w, loss in zip(weights, losses[1:], strict=True) if w > 0) / sum(weights)
    scale = max((abs(loss) for loss in losses if math.isfinite(loss)), default=0.0)
    slack = 16 * torch.finfo(risk.replica.dtype).eps * max(1.0, _size(together) if by_row else 0.0)
    same = abs(mean - losses[0]) <= tolerance(risk.replica.dtype) * scale + slack
    return "" if same or mean != mean else NO_MEAN


def _evaluated(risk: Risk, batch: Batch) -> tuple[Tensor, Tensor | None]:
    loss, outputs, _ = risk.forward(risk.placed(batch))
    return loss, outputs if isinstance(outputs, Tensor) and outputs.ndim else None


def _size(values: Tensor | None) -> float:
    """The largest finite absolute value."""
    return 0.0 if values is None else float(values.nan_to_num(posinf=0.0, neginf=0.0).abs().max())


def tolerance(dtype: torch.dtype) -> float:
    """By how much the same number computed in two ways may differ, relative to it."""
    return 1e-4 if dtype == torch.float32 else 1e-8


def _differ(together: Tensor, apart: Sequence[Tensor | None]) -> str:
    """Whether the outputs of parts differ from those of the same rows within the batch."""
    parts = [part for part in apart if part is not None and part.shape[1:] == together.shape[1:]]
    if len(parts) != len(apart) or sum(map(len, parts)) != len(together):
        return "the outputs of a part of a batch have another shape"
    limit = tolerance(together.dtype) * _size(together) + torch.finfo(together.dtype).tiny
    if torch.allclose(torch.cat(parts), together, rtol=0.0, atol=limit, equal_nan=True):
        return ""
    return MIXED


class _Slopes(NamedTuple):
    """Outputs and derivatives of some rows."""

    outputs: Tensor | None  # None unless there is one row an example
    gradient: Tensor  # of the outputs in a random direction (it does not vanish where the loss does), or of the loss
    bend: Tensor | None  # the derivative of the loss in the outputs, times the weight of the rows


def _difference_of_slopes(risk: Risk, batch: Batch, point: Tensor) -> str:
    """What differs between rows and single examples at a displaced point, where no weight is zero."""
    count = rows_in(batch) or 0
    risk.replica.move(_displaced(risk, point), constant=True)
    together = _slopes(risk, batch, 0, count)
    shards = risk.replica.shards
    if not shards.all(bool(torch.isfinite(together.gradient).all())):
        risk.replica.move(point, constant=True)
        together = _slopes(risk, batch, 0, count)
    apart, gradient, lengths = [], torch.zeros_like(together.gradient), []
    for k in range(count):
        single = _slopes(risk, batch, k, k + 1)
        apart.append((single.outputs, single.bend))
        gradient += single.gradient
        lengths.append(shards.norm(single.gradient))
    if together.outputs is not None:
        difference = _differ(together.outputs, [outputs for outputs, _ in apart])
        if difference:
            return difference
    limit = 10 * tolerance(risk.replica.dtype)
    error, *sizes = numbers(shards.norm(gradient.sub_(together.gradient)), *lengths)
    if error > limit * sum(sizes):
        return "the gradient of a batch is not made of the gradients of its examples"
    bends = [bend for _, bend in apart if bend is not None]
    if together.bend is None or len(bends) < count:
        return ""
    slack = 64 * torch.finfo(risk.replica.dtype).eps * count
    if float((torch.cat(bends) - together.bend).abs().max()) > limit * _size(together.bend) + slack:
        return NO_MEAN
    return ""


def _slopes(risk: Risk, few: Batch, first: int, last: int) -> _Slopes:
    batch = rows_of(few, slice(first, last))
    loss, outputs, _ = risk.forward(risk.placed(batch))
    weight = risk.batches.weight_of(batch)
    if weight <= 0:  # torch's mean over no label is NaN
        loss = loss.detach().new_zeros(())
    if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != last - first:
        return _Slopes(None, gradient_of(risk.replica, weight * loss), None)
    bend = torch.zeros_like(outputs)
    if loss.requires_grad and outputs.requires_grad:
        (slope,) = torch.autograd.grad(
            loss, outputs, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        bend = weight * slope
    columns, like = math.prod(outputs.shape[1:]), risk.replica.point
    drawn = Draws(1).normals(range(first, last), columns, like=like).reshape(outputs.shape)
    along = (outputs * drawn.to(outputs)).sum()
    return _Slopes(outputs.detach(), gradient_of(risk.replica, along), bend)


def _displaced(risk: Risk, point: Tensor) -> Tensor:
    """A point nearby, at which no parameter tensor is zero."""
    displaced = point.clone()
    for k, entry in enumerate(risk.replica.layout.entries):
        if entry.size == 0:  # of a divided tensor, nothing may be held here
            continue
        part = displaced[entry.offset : entry.offset + entry.size]
        size = norm(part).to(part.dtype) / max(1, entry.size) ** 0.5
        size = torch.where(size > 0, size, 1.0)
        # At most 65 536 random numbers a tensor, repeated: drawing one for every weight would take a second.
        (drawn,) = Draws(0).normals(range(k, k + 1), min(entry.size, 1 << 16), like=part)
        step = SHIFT * size * drawn
        repeated = entry.size - entry.size % max(1, len(step))
        part[:repeated].view(-1, max(1, len(step))).add_(step)
        part[repeated:].add_(step[: entry.size - repeated])
    return displaced
