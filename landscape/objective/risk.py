"""The forward pass of one batch: a network and a loss, on data that are fixed."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError, UsageError
from landscape.isolation.randomness import private_randomness
from landscape.losses.cross_entropy import CrossEntropy
from landscape.losses.loss_functions import (
    BatchLoss,
    LabelWeights,
    Loss,
    averages_examples,
    in_float64,
    label_weights,
)
from landscape.losses.outputs import labelled, scores, targets_in, wants_scores
from landscape.objective.batch import Batch, copied, mapped, moved, rows_in, rows_of, versions
from landscape.objective.batches import Batches
from landscape.objective.engine import Engine
from landscape.objective.misfits import refuse_labels
from landscape.objective.replica import Replica
from landscape.reductions import exact, exact_dtype


@dataclasses.dataclass(frozen=True)
class FirstChecks:
    """The result of the first checks of network, loss and data; the default is what holds until they are done."""

    done: bool = False
    # Whether the loss takes derivatives itself, so that its value needs autograd.
    differentiates: bool = False
    # Whether network or loss write to the batch, so that every forward pass gets a copy.
    writes_inputs: bool = False
    # Whether the network draws random numbers, which threads must do one after the other.
    draws: bool = False
    # Whether attention may be used, so that its fused kernels must be replaced.
    attention: bool = True
    # Why derivatives would be wrong; empty if autograd sees all that the loss depends on.
    underived: str = ""
    # The outputs for the first batch, without their values.
    outputs: Tensor | None = None
    # What was changed in the network's outputs or for a second derivative, a line each.
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Risk:
    """A network, a loss and fixed data, and which micro-batch of the data is being visited."""

    replica: Replica
    loss: Loss
    batches: Batches
    engine: Engine
    checks: FirstChecks = FirstChecks()
    place: tuple[int, int] = (0, 0)  # first row and number of rows of the micro-batch
    batch_start: int = 0  # first row of the batch that it is a part of
    size: int = 0  # its number of examples
    weight: float = 1.0  # what its mean is divided by
    # Of its loss in the mean over the processes, where each visits another micro-batch; None where all visit this one.
    share: float | None = None

    def forward(self, batch: Batch, *, network: Callable[..., Any] | None = None) -> tuple[Tensor, Any, Any]:
        """``(loss, outputs, targets)`` of one batch; the last two are ``None`` for a :class:`BatchLoss`.

        Args:
            batch: On the network's device.
            network: What computes the outputs instead of the network.
        """
        checks = self.checks
        if checks.differentiates and torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.enable_grad():
                usable = mapped(batch, lambda t: t.clone() if t.is_inference() else t)
                return self.forward(usable, network=network)
        before = versions(batch)
        copying: AbstractContextManager[None] = contextlib.nullcontext()
        if checks.writes_inputs:
            batch, copying = copied(batch), self.replica.input_copies.paused()
        outputs = targets = None
        with copying:
            if not checks.done:
                self._refuse_inputs(self.batches.in_memory or (batch,))
            if isinstance(self.loss, BatchLoss):
                loss = self.loss.fn(self.replica.model, batch)
                if isinstance(loss, tuple) and len(loss) == 3:
                    loss, outputs, targets = loss
            else:
                inputs, targets = labelled(batch)
                function = self.replica.model if network is None else network
                outputs = function(**inputs) if isinstance(inputs, Mapping) else function(inputs)
                if not isinstance(outputs, Tensor) and wants_scores(self.loss):
                    outputs, _ = scores(outputs)
                if not checks.done:
                    refuse_labels(self.loss, outputs, self.batches.in_memory or (batch,))
                loss = in_float64(self.loss, outputs, targets)
        if self.share is not None and isinstance(loss, Tensor):
            loss = self.share * loss
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            kind = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the loss is not a scalar ({kind}); it must return the mean over the batch")
        if checks.done and not checks.writes_inputs and versions(batch) != before:
            raise InputError(
                f"{type(self.replica.model).__name__} or the loss writes to its inputs in place, but not in the first "
                "batch, so that this batch is no longer what it was; let it write to a copy: x = x.clone()"
            )
        return loss, outputs, targets

    def _refuse_inputs(self, batches: Iterable[Batch]) -> None:
        """Raises an :class:`InputError` for inputs that the network cannot have, for a loss that knows them."""
        refuse = getattr(self.loss, "refuse_inputs", None)
        if refuse is not None:
            refuse(self.replica.model, batches)

    def placed(self, batch: Batch) -> Batch:
        """A batch on the device of the network, and in its precision."""
        # The first checks read the labels of all batches that are kept. The CPU refuses others by itself; a GPU cannot
        # be used any more after a wrong one.
        if self.checks.done and self.replica.device.type != "cpu" and not self.batches.in_memory:
            self._refuse_inputs((batch,))
            refuse_labels(self.loss, self.checks.outputs, (batch,))
        return moved(batch, self.replica.device, self.replica.dtype)

    def randomness(self) -> AbstractContextManager[None]:
        """The context of an evaluation, which leaves the global generators of random numbers as they were."""
        return private_randomness(self.replica.device) if self.checks.draws else contextlib.nullcontext()

    def book(self, **counted: int) -> None:
        """Counts work on the micro-batch that is being visited."""
        self.engine.ledger.counts.update({kind: self.size * count for kind, count in counted.items()})

    def correct(self, outputs: Any, targets: Any) -> list[Tensor]:
        """The numbers of right and of counted labels, each over the weight of this micro-batch, so that means add up.

        Empty unless outputs are class scores ``(B, C)`` and targets class numbers, or both of each token.
        """
        if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
            return []
        is_by_token = outputs.ndim == 3 and isinstance(self.loss, CrossEntropy)
        if not (outputs.ndim == 2 or is_by_token) or outputs.shape[-1] < 2 or targets.is_floating_point():
            return []
        if targets.shape != outputs.shape[:-1]:
            return []
        counted = targets != (label_weights(self.loss) or LabelWeights()).ignored
        right = (outputs.argmax(dim=-1) == targets) & counted
        share = 1.0 if self.share is None else self.share
        return [share * exact(labels).sum() / self.weight for labels in (right, counted)]

    def example_weights(self, batch: Batch) -> Tensor:
        """The weight of each example in the mean of a batch, ``(B,)`` on its device."""
        rule = label_weights(self.loss) if averages_examples(self.loss) else None
        targets = targets_in(batch)
        if rule is not None and isinstance(targets, Tensor):
            return rule.each(targets)
        rows = range(rows_in(batch) or 0)
        weights = [self.batches.weight_of(rows_of(batch, slice(k, k + 1))) for k in rows]
        return torch.tensor(weights, dtype=exact_dtype(self.replica.device), device=self.replica.device)
