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

from landscape.batches import Batch, Batches, mapped, moved
from landscape.errors import UsageError
from landscape.first_look import first_look
from landscape.isolation import preserved_randomness
from landscape.outputs import applied, labelled, scores, wants_scores
from landscape.replica import Replica


class BatchLoss:
    """A loss for batches that are not ``(inputs, targets)``: language models, PINNs, dictionaries.

    Args:
        fn: ``fn(model, batch)`` → scalar mean over the batch's examples; or ``(mean, scores, targets)``, so that
            the accuracy is known too.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
    """

    def __init__(
        self, fn: Callable[[nn.Module, Any], Any], *, size: Callable[[Any], int] | None = None
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
        calibration: What batch-norm statistics are taken from before anything else; ``None`` leaves them.
        checked: Whether network and data are known to go together.
        differentiates: Whether the loss itself takes derivatives, so that it needs autograd even for its value.
        writes_inputs: Whether the network writes to its inputs, so that it is given copies.
        notes: What had to be done to the network's outputs or for a second derivative, a line each.
    """

    replica: Replica
    loss: Loss
    batches: Batches
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    calibration: Batches | None = None
    checked: bool = False
    differentiates: bool = False
    writes_inputs: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)

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
                parts = visit(self.placed(batch))
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
        if self.differentiates and torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.enable_grad():
                return self.forward(mapped(batch, lambda t: t.clone() if t.is_inference() else t))
        if isinstance(self.loss, BatchLoss):
            found = self.loss.fn(self.replica.model, batch)
            whole = isinstance(found, tuple) and len(found) == 3
            loss, outputs, targets = found if whole else (found, None, None)
        else:
            inputs, targets = labelled(batch)
            outputs = applied(self.replica.model, inputs)
            if not isinstance(outputs, Tensor) and wants_scores(self.loss):
                outputs = self._only_scores(outputs)
            loss = self.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            seen = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the loss is not a scalar ({seen}); it must return the mean over the batch")
        return loss, outputs, targets

    def placed(self, batch: Batch) -> Batch:
        """A batch where the network is, and in its precision."""
        return moved(batch, self.replica.device, self.replica.dtype, copy=self.writes_inputs)

    def check(self, point: Tensor, *, constant: bool) -> None:
        """Once: the model can be applied to the data, and two evaluations of the first batch agree."""
        if not self.checked:
            first_look(self, point, constant=constant)
            self.checked = True

    def _only_scores(self, outputs: Any) -> Tensor:
        """The scores; from now on the replica returns nothing else, so that every derivative sees a tensor."""
        found, where = scores(outputs)
        kind = type(self.replica.model).__name__
        self.notes.append(f"{kind} returns a {type(outputs).__name__}; the scores are {where}")
        self.replica.model.register_forward_hook(lambda module, inputs, returned: scores(returned)[0])
        return found


def correct(outputs: Any, targets: Any) -> list[Tensor]:
    """``[fraction right]`` if outputs are class scores ``(B, C)`` and targets class numbers, else ``[]``."""
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return []
    if outputs.ndim != 2 or outputs.shape[1] < 2 or targets.ndim != 1 or targets.is_floating_point():
        return []
    counted = targets != IGNORED
    right = ((outputs.argmax(dim=1) == targets) & counted).double().sum()
    return [right / counted.sum().clamp(min=1)]


IGNORED = -100
"""The class number that torch's cross-entropy leaves out."""
