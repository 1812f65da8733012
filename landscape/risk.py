"""Network, loss and data together: one forward pass on one batch, and the weighted sum over all batches.

:class:`Risk` is the machine behind every :class:`landscape.objective.Objective` on the same data. It is the
only place where data is summed, where the network is moved to a point, and where work is counted.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.batches import Batch, Batches, moved
from landscape.errors import InputError, UsageError
from landscape.isolation import preserved_randomness, without_gradients
from landscape.replica import Replica, stochastic_modules


class BatchLoss:
    """A loss for batches that are not ``(inputs, targets)``: language models, PINNs, dictionaries.

    Args:
        fn: ``fn(model, batch)`` → scalar mean over the batch's examples.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
    """

    def __init__(
        self, fn: Callable[[nn.Module, Any], Tensor], *, size: Callable[[Any], int] | None = None
    ) -> None:
        self.fn = fn
        self.size = size


Loss = Callable[[Any, Any], Tensor] | BatchLoss


class Ledger:
    """Work done so far on one data set, counted in examples so that fractions of a pass add up exactly.

    Attributes:
        counts: Example-visits by kind: ``gradients``, ``products``, ``evaluations``.
        total: Examples in one pass over all the data.
        listener: Told how far a long computation is: a few words, and the fraction done as far as known.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.listener: Callable[[str, float], None] | None = None

    def tell(self, words: str, fraction: float) -> None:
        """Tells the listener, if there is one."""
        if self.listener is not None:
            self.listener(words, fraction)

    def passes(self) -> dict[str, float]:
        """The work done, in passes over all the data."""
        return {
            kind: self.counts[kind] / (self.total or 1) for kind in ("gradients", "products", "evaluations")
        }


@dataclasses.dataclass
class Risk:
    """A network, a loss and fixed data.

    Attributes:
        replica: The private copy of the network.
        loss: What is averaged.
        batches: The data.
        ledger: Where work is booked; shared with the risks of single batches.
    """

    replica: Replica
    loss: Loss
    batches: Batches
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    checked: bool = False

    def on(self, batch: Batch, size: int) -> "Risk":
        """The same network and loss on one batch alone."""
        self.ledger.total = max(self.ledger.total, self.batches.num_examples)
        return dataclasses.replace(self, batches=self.batches.single(batch, size), checked=True)

    def mean(
        self, visit: Callable[[Batch], list[Tensor]], *, at: Tensor, constant: bool = True, **counted: int
    ) -> list[Tensor]:
        """``Σ_b (n_b/N) visit(b)`` over the batches, entry by entry.

        Args:
            visit: Called with each batch; returns tensors that are means over its examples.
            at: The point ``(n,)`` at which the network stands meanwhile.
            constant: Whether ``at`` is never written to by its owner.
            counted: What one visit costs, for the ledger: ``gradients=1, products=K``.
        """
        self.check(at, constant=constant)
        everything = self.batches.num_examples
        self.ledger.total = max(self.ledger.total, everything)
        totals: list[Tensor] = []
        with preserved_randomness(self.replica.device):
            self.replica.move(at, constant=constant)
            for size, batch in self.batches:
                parts = visit(moved(batch, self.replica.device, self.replica.dtype))
                weight = size / everything
                if not totals:
                    totals = [part * weight for part in parts]
                else:
                    for total, part in zip(totals, parts, strict=True):
                        total.add_(part, alpha=weight)
                self.ledger.counts.update({kind: size * count for kind, count in counted.items()})
        return totals

    def forward(self, batch: Batch) -> tuple[Tensor, Any, Any]:
        """``(loss, outputs, targets)`` of one batch; the last two are ``None`` for a :class:`BatchLoss`."""
        if isinstance(self.loss, BatchLoss):
            loss, outputs, targets = self.loss.fn(self.replica.model, batch), None, None
        else:
            if not isinstance(batch, tuple) or len(batch) != 2:
                raise InputError(
                    f"a batch is a {type(batch).__name__}, not a pair (inputs, targets); "
                    "wrap the loss: BatchLoss(lambda model, batch: …)"
                )
            inputs, targets = batch
            outputs = self.replica.model(inputs)
            loss = self.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            seen = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the loss is not a scalar ({seen}); it must return the mean over the batch")
        return loss, outputs, targets

    def check(self, point: Tensor, *, constant: bool) -> None:
        """Once: the model can be applied to the data, and two evaluations of the first batch agree."""
        if self.checked:
            return
        _, first = next(iter(self.batches))
        batch = moved(first, self.replica.device, self.replica.dtype)
        losses = []
        with preserved_randomness(self.replica.device), without_gradients():
            self.replica.move(point, constant=constant)
            for seed in (0, 1):
                torch.manual_seed(seed)
                try:
                    losses.append(float(self.forward(batch)[0]))
                except (UsageError, InputError):
                    raise
                except (RuntimeError, ValueError, TypeError, IndexError) as failure:
                    raise InputError(_misfit(self.replica.model, batch, failure)) from failure
        a, b = losses
        if not (a == b or abs(a - b) <= 1e-5 * abs(a) or (a != a and b != b)):
            active = ", ".join(stochastic_modules(self.replica.model)[:3])
            raise InputError(
                f"the model is random: two evaluations of the first batch give {a:.6g} and {b:.6g}; random "
                f"part: {active or 'a function in its forward pass, such as F.dropout'}; switch it off "
                "(model.eval(), and F.dropout(…, training=self.training)) before measuring"
            )
        self.checked = True


def correct(outputs: Any, targets: Any) -> list[Tensor]:
    """``[fraction right]`` if outputs are class scores ``(B, C)`` and targets class numbers, else ``[]``."""
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return []
    if outputs.ndim != 2 or outputs.shape[1] < 2 or targets.ndim != 1 or targets.is_floating_point():
        return []
    return [(outputs.argmax(dim=1) == targets).double().mean()]


def _misfit(model: nn.Module, batch: Batch, failure: Exception) -> str:
    shapes = []
    if isinstance(batch, tuple) and len(batch) == 2:
        for part, name in zip(batch, ("inputs", "targets"), strict=True):
            if isinstance(part, Tensor) and part.numel():
                bounds = f", values {part.min().item():.4g} to {part.max().item():.4g}"
                shapes.append(f"{name} {tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}{bounds}")
    reason = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    seen = f" ({'; '.join(shapes)})" if shapes else ""
    return f"{type(model).__name__} cannot be evaluated on this data{seen}: {reason}"
