"""A closure that gives an optimizer access to the examples of its batch, not only to their mean loss.

Called, it is the closure of torch's optimizers: it clears the gradients, evaluates the mean loss, runs backward
and returns the loss. So every optimizer takes it. Those that select examples, slice the batch, or add a term to
the loss use its other methods, and refuse a plain function::

    closure = BatchClosure(model, nn.CrossEntropyLoss(reduction="none"), inputs=inputs, targets=targets)
    optimizer.step(closure)
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import UsageError

Losses = Callable[[Tensor, Tensor], Tensor]
Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Rows = slice | Tensor


@dataclass(frozen=True)
class Evaluation:
    """A forward pass: the outputs of the network ``(B, …)`` and the losses of the examples ``(B,)``."""

    outputs: Tensor
    losses: Tensor

    @property
    def loss(self) -> Tensor:
        """The mean loss, 0-dim."""
        return self.losses.mean()

    def detached(self) -> "Evaluation":
        """The same without a graph."""
        return Evaluation(self.outputs.detach(), self.losses.detach())


Term = Callable[[Evaluation], Tensor]


class BatchClosure:
    """The loss of one batch, with access to its examples.

    Args:
        model: The network. Its gradients are cleared before each pass.
        loss: One number an example, ``(B,)``, of outputs and targets:
            ``nn.CrossEntropyLoss(reduction="none")``.
        inputs: A tensor ``(B, …)``; or a tuple of such for ``model(*inputs)``, a dict for ``model(**inputs)``.
        targets: Shape ``(B, …)``.
        indices: The numbers of these examples in the data set, shape ``(B,)``, for rules that remember examples;
            ``None`` where they are not known.
        backward: Computes the gradients of the loss; ``loss.backward()`` unless a library has its own, as in
            ``backward=accelerator.backward``.
        another: Returns the closure of a fresh batch, for rules that use several batches a step; ``None``
            for this batch again.
        autocast: The lower precision of forward passes where it is safe, such as ``torch.bfloat16``; ``None``
            for none. Losses are computed from outputs in the precision of the weights.

    Attributes:
        last: The last forward pass of this batch in this step, without graph; ``None`` before the first.
        share: The share of the whole batch that this is, 1 for the whole.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Losses,
        *,
        inputs: Inputs,
        targets: Tensor,
        indices: Tensor | None = None,
        backward: Callable[[Tensor], object] = Tensor.backward,
        another: Callable[[], "BatchClosure"] | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        counts = [len(tensor) if tensor.ndim else 0 for tensor in _tensors_of(inputs)]
        wrong = next((count for count in counts if count != len(targets)), None)
        if wrong is not None or (indices is not None and len(indices) != len(targets)):
            numbers = "" if indices is None else f" and {len(indices)} indices"
            seen = counts[0] if wrong is None else wrong
            raise UsageError(f"a batch needs one target an input, got {seen} and {len(targets)}{numbers}")
        self.model = model
        self.inputs = inputs
        self.targets = targets
        self.indices = indices
        self.backward = backward
        self.last: Evaluation | None = None
        self.share: float = 1
        self._loss = loss
        self._another = another
        self._autocast = autocast
        self._term: Term | None = None
        # The outputs of pass 1 with their rows in the whole batch; parts share the list with it.
        self._first: list[tuple[Tensor | None, Tensor]] = []
        self._rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def begin_step(self) -> None:
        """Forget the passes of the last step."""
        self.last = None
        self._first.clear()

    def __call__(self) -> Tensor:
        """Clear the gradients, evaluate, run backward; the mean loss, without the added term."""
        self.model.zero_grad()
        is_first = self.last is None
        evaluation = self.evaluate()
        if is_first:
            self._note(evaluation.outputs)
        loss = evaluation.loss
        self.backward(loss if self._term is None else loss + self._term(evaluation))
        return loss

    def evaluate(self) -> Evaluation:
        """A forward pass, with a graph where gradients are recorded."""
        evaluation = self._evaluated(self.inputs, self.targets)
        self.last = evaluation.detached()
        return evaluation

    @property
    def first_outputs(self) -> Tensor:
        """The outputs of pass 1 for the whole batch, in its order."""
        outputs = torch.cat([seen for _, seen in self._first])
        rows = [row for row, _ in self._first if row is not None]
        return outputs[torch.cat(rows).argsort()] if rows else outputs

    def part(self, rows: Rows) -> "BatchClosure":
        """The closure of some of the examples: a slice, or their numbers in this batch, shape ``(b,)``."""
        part = self._copied()
        own = torch.arange(len(self), device=self.targets.device) if self._rows is None else self._rows
        part._rows = own[rows]
        part.inputs, part.targets = _rows_of(self.inputs, rows), self.targets[rows]
        if self.indices is not None:
            # To the rows, and not the other way, for which the host would wait.
            place = rows.device if isinstance(rows, Tensor) else self.indices.device
            part.indices = self.indices.to(place, non_blocking=True)[rows]
        part.share = self.share * len(part) / len(self)
        return part

    def plus(self, term: Term) -> "BatchClosure":
        """The closure whose gradients are those of the loss and a term, 0-dim with a graph, of the evaluation."""
        regularised = self._copied()
        regularised._term = term
        return regularised

    def another(self) -> "BatchClosure":
        """The closure of a fresh batch, where this was made with such; otherwise this one."""
        return self if self._another is None else self._another()

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Inside, the network is in evaluation mode; afterwards each module is in its mode of before."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _evaluated(self, inputs: Inputs, targets: Tensor) -> Evaluation:
        inputs, targets = _cloned(inputs, targets)
        if self._autocast is None:
            outputs = _outputs(self.model, inputs)
        else:
            weight = next(p for p in self.model.parameters() if p.is_floating_point())
            with torch.autocast(weight.device.type, self._autocast):
                outputs = _outputs(self.model, inputs)
            outputs = outputs.to(weight.dtype)
        losses = self._loss(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape != (len(targets),):
            kind = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise UsageError(
                f"the loss of a BatchClosure returned {kind} for {len(targets)} examples; it has to return one "
                f'number an example, as nn.CrossEntropyLoss(reduction="none") does'
            )
        return Evaluation(outputs, losses)

    def _note(self, outputs: Tensor) -> None:
        """Record the outputs of pass 1, until it has seen the whole batch."""
        whole_batch = round(len(self) / self.share)  # the share is a quotient of floats
        if sum(len(seen) for _, seen in self._first) < whole_batch:
            self._first.append((self._rows, outputs.detach()))

    def _copied(self) -> "BatchClosure":
        other = copy.copy(self)
        other.last = None
        return other


class MicroBatches(BatchClosure):
    """The closure of a batch that is too large for memory: each pass adds up the gradients of its pieces.

    Every pass is one of the whole batch, so that a displacement is too: the full-batch reading of gradient
    accumulation. The other one, a displacement for each piece, is :class:`~landscape.optim.SlicedSAM`. Batch norm
    sees pieces.

    Args:
        model, loss, options: The arguments of :class:`BatchClosure`.
        size: Examples a piece; the last may be smaller.
    """

    def __init__(self, model: nn.Module, loss: Losses, *, size: int, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self.size = size

    def __call__(self) -> Tensor:
        """Clear the gradients, and run each piece forward and backward; the mean loss."""
        self.model.zero_grad()
        is_first = self.last is None
        pieces = []
        for evaluation in self._pieces():
            self.backward(evaluation.losses.sum() / len(self))
            pieces.append(evaluation.detached())  # frees the graph of the piece
        self.last = _joined(pieces)
        if is_first:
            self._note(self.last.outputs)
        return self.last.loss

    def evaluate(self) -> Evaluation:
        """A forward pass, piece by piece."""
        evaluation = _joined(list(self._pieces()))
        self.last = evaluation.detached()
        return evaluation

    def plus(self, term: Term) -> BatchClosure:
        """Not possible, because the term is one of all outputs at once; raises :class:`UsageError`."""
        raise UsageError(
            "this optimizer adds a term of the whole batch to the loss, which cannot be accumulated over "
            "micro-batches; use accumulate=1 and a smaller batch_size"
        )

    def _pieces(self) -> Iterator[Evaluation]:
        for start in range(0, len(self), self.size):
            rows = slice(start, start + self.size)
            yield self._evaluated(_rows_of(self.inputs, rows), self.targets[rows])


def _joined(pieces: list[Evaluation]) -> Evaluation:
    return Evaluation(torch.cat([p.outputs for p in pieces]), torch.cat([p.losses for p in pieces]))


def _tensors_of(inputs: Inputs) -> list[Tensor]:
    """The tensors, in order; raises :class:`UsageError` if there is something else among them, or nothing."""
    if isinstance(inputs, Tensor):
        return [inputs]
    values = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    is_several = isinstance(values, (list, tuple))
    if not is_several or not values or not all(isinstance(x, Tensor) for x in values):
        kinds = [type(x).__name__ for x in values] if is_several else type(values).__name__
        raise UsageError(
            f"the inputs of a batch are {kinds}; give a tensor, a tuple of tensors for model(*inputs), or a dict of "
            f"tensors for model(**inputs), each with one row an example"
        )
    return list(values)


def _outputs(model: nn.Module, inputs: Inputs) -> Tensor:
    """The outputs of the network, one row an example; raises :class:`UsageError` if they are not a tensor."""
    if isinstance(inputs, Tensor):
        outputs = model(inputs)
    else:
        outputs = model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)
    if not isinstance(outputs, Tensor):
        raise UsageError(
            f"the network of a BatchClosure returned {type(outputs).__name__}, and the loss of each example is "
            f"that of a tensor; wrap it in a module whose forward returns the tensor, such as the logits"
        )
    return outputs


def _mapped(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(x) for name, x in inputs.items()}
    return tuple(change(x) for x in inputs)


def _cloned(inputs: Inputs, targets: Tensor) -> tuple[Inputs, Tensor]:
    """Both in memory of their own, for a network or a loss that writes to them."""
    # A copy costs a thousandth of a pass, and only a copy protects against every way to write to a tensor.
    # By identity, because the targets of an autoencoder are its inputs, and have to stay so.
    clones = {id(tensor): tensor.clone() for tensor in (*_tensors_of(inputs), targets)}
    return _mapped(inputs, lambda x: clones[id(x)]), clones[id(targets)]


def _rows_of(inputs: Inputs, rows: Rows) -> Inputs:
    return _mapped(inputs, lambda x: _rows_of_tensor(x, rows))


def _rows_of_tensor(tensor: Tensor, rows: Rows) -> Tensor:
    return tensor[rows.to(tensor.device) if isinstance(rows, Tensor) else rows]
