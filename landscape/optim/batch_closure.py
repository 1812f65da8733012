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

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.division import Division, taking_part

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
        division: Which examples of the batch these are, where several processes hold the others; ``None`` for all.
            Gradients, losses and the numbers of ``part`` are then those of the whole batch in every process; inputs,
            targets, indices and outputs are its own. A loss that is one number for a batch counts as a mean over the
            examples, and so does a term. A process without an example passes any one, which does not count.

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
        division: Division | None = None,
    ) -> None:
        counts = [len(tensor) if tensor.ndim else 0 for tensor in _tensors_of(inputs)]
        wrong = next((count for count in counts if count != len(targets)), None)
        if wrong is not None or (indices is not None and len(indices) != len(targets)):
            numbers = "" if indices is None else f" and {len(indices)} indices"
            seen = counts[0] if wrong is None else wrong
            raise UsageError(f"a batch needs one target an input, got {seen} and {len(targets)}{numbers}")
        if division is not None and len(division.rows) != len(targets) and not division.is_idle:
            raise UsageError(
                f"the division of a batch has {len(division.rows)} examples in this process, and it was given "
                f"{len(targets)}"
            )
        self.model = model
        self.inputs = inputs
        self.targets = targets
        self.indices = indices
        self.backward = backward
        self.division = division
        self.last: Evaluation | None = None
        self.share: float = 1
        self._loss = loss
        self._another = another
        self._autocast = autocast
        self._term: Term | None = None
        # The outputs of pass 1 with their rows in the whole batch; parts share the list with it.
        self._first: list[tuple[Tensor | None, Tensor]] = []
        self._rows: Tensor | None = None
        self._first_size = len(targets)

    def __len__(self) -> int:
        return len(self.targets) if self.division is None else self.division.size

    @property
    def counted(self) -> int:
        """How many examples this process has: all, without a division."""
        return len(self.targets) if self.division is None else len(self.division.rows)

    def begin_step(self) -> None:
        """Forget the passes of the last step."""
        self.last = None
        self._first.clear()

    def __call__(self) -> Tensor:
        """Clear the gradients, evaluate, run backward; the mean loss, without the added term."""
        self.model.zero_grad()
        if self.division is not None:
            return self._pass_of_all(self.division)
        is_first = self.last is None
        evaluation = self.evaluate()
        if is_first:
            self._note(evaluation.outputs)
        loss = evaluation.loss
        self.backward(loss if self._term is None else loss + self._term(evaluation))
        return loss

    def evaluate(self) -> Evaluation:
        """A forward pass, with a graph where gradients are recorded."""
        if self.division is None:
            evaluation = self._own_evaluation()
        else:
            evaluation = self._completed(self.division, self._own_evaluation, gradients=False)
        self.last = evaluation.detached()
        return evaluation

    @property
    def first_outputs(self) -> Tensor:
        """The outputs of pass 1 for the whole batch, in its order; under a division, those of this process."""
        if self.counted == 0:
            return self.targets.new_empty(0)
        outputs = torch.cat([seen for _, seen in self._first])
        rows = [row for row, _ in self._first if row is not None]
        return outputs[torch.cat(rows).argsort()] if rows else outputs

    def part(self, rows: Rows) -> "BatchClosure":
        """The closure of some of the examples: a slice, or their numbers in this batch, shape ``(b,)``."""
        part = self._copied()
        size = len(self)
        if self.division is not None:
            part.division, rows = self.division.part(rows)
            if part.division.is_idle:  # the first one, which does not count
                rows = torch.zeros(1, dtype=torch.int64, device="cpu")
        own = (
            torch.arange(len(self.targets), device=self.targets.device) if self._rows is None else self._rows
        )
        part._rows = own[rows]
        part.inputs, part.targets = rows_of(self.inputs, rows), self.targets[rows]
        if self.indices is not None:
            # To the rows, and not the other way, for which the host would wait.
            place = rows.device if isinstance(rows, Tensor) else self.indices.device
            part.indices = self.indices.to(place, non_blocking=True)[rows]
        part.share = self.share * len(part) / size
        return part

    def plus(self, term: Term) -> "BatchClosure":
        """The closure whose gradients are those of the loss and a term, 0-dim with a graph, of the evaluation."""
        regularised = self._copied()
        regularised._term = term
        return regularised

    def slopes(self, outputs: Tensor) -> Tensor:
        """The derivative ``(B, …)`` of the loss of each example in its outputs, at outputs ``(B, …)``."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            losses = self._loss(leaf, self.targets.clone())
            return torch.autograd.grad(losses.sum(), leaf)[0]

    def own(self, values: Tensor) -> Tensor:
        """The rows of this process from those of the whole batch ``(B, …)``: all, without a division."""
        return values if self.division is None else self.division.own(values)

    def whole(self, values: Tensor) -> Tensor:
        """The rows of the whole batch, in its order, from those of this process ``(b, …)``; see :meth:`own`."""
        return values if self.division is None else self.division.whole(values)

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

    def _pass_of_all(self, division: Division) -> Tensor:
        """A pass of the whole batch, of which each process runs its part; the mean loss."""
        is_first = self.last is None
        self.last = self._completed(division, self._part_of_pass, gradients=True)
        if is_first and not division.is_idle:
            self._note(self.last.outputs)
        return self.last.loss

    def _completed(self, division: Division, run: Callable[[], Evaluation], *, gradients: bool) -> Evaluation:
        """What ``run`` returns in this process, with the losses of all."""
        evaluations: list[Evaluation] = []

        def work() -> Tensor | None:
            with taking_part(division) as takes_part:
                evaluations.extend([run()] if takes_part else [])
            return None if division.is_idle else evaluations[0].losses

        losses = division.exchange.completed(
            work, list(self.model.parameters()), rows=division.rows, size=len(self), gradients=gradients
        )
        if not evaluations:
            return Evaluation(losses.new_empty(0), losses)
        own = evaluations[0]
        if own.losses.requires_grad and not division.is_idle:
            rows = division.rows.to(losses.device, non_blocking=True)
            losses = losses.index_copy(0, rows, own.losses.to(losses.dtype))
        return Evaluation(own.outputs, losses)

    def _part_of_pass(self) -> Evaluation:
        """The examples of this process forward and backward, weighted as in the mean over the whole batch."""
        evaluation = self._own_evaluation()
        loss = evaluation.losses.sum() / len(self)
        if self.counted == 0:
            loss = loss * 0
        if self._term is not None:
            loss = loss + self._term(evaluation) * (self.counted / len(self))
        self.backward(loss)
        return evaluation.detached()

    def _own_evaluation(self) -> Evaluation:
        return self._evaluated(self.inputs, self.targets)

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
        if sum(len(seen) for _, seen in self._first) < self._first_size:
            self._first.append((self._rows, outputs.detach()))

    def _copied(self) -> "BatchClosure":
        other = copy.copy(self)
        other.last = None
        return other


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


def rows_of(inputs: Inputs, rows: Rows) -> Inputs:
    """Some of the examples of the inputs of a batch."""
    return _mapped(inputs, lambda x: _rows_of_tensor(x, rows))


def _rows_of_tensor(tensor: Tensor, rows: Rows) -> Tensor:
    return tensor[rows.to(tensor.device) if isinstance(rows, Tensor) else rows]
