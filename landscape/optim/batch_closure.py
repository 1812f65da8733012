"""A closure that shows its batch: what optimizers need that look at examples, not only at their mean loss.

Called, it is the closure of torch's optimizers: it clears the gradients, evaluates the mean loss, runs backward
and returns the loss. So every optimizer takes it. Those that select examples, slice the batch, or add a term to
the loss ask it for more, and refuse a plain function::

    closure = BatchClosure(model, nn.CrossEntropyLoss(reduction="none"), inputs=inputs, targets=targets)
    optimizer.step(closure)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.inputs import Inputs, Rows, answered, chosen, copied, on_device_of, tensors_of

Losses = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """A forward pass.

    Attributes:
        outputs: What the network answered, shape ``(B, …)``.
        losses: One number an example, shape ``(B,)``.
    """

    outputs: Tensor
    losses: Tensor

    @property
    def loss(self) -> Tensor:
        """The mean loss, 0-dim."""
        return self.losses.mean()


Term = Callable[[Evaluation], Tensor]


class BatchClosure:
    """The loss of one batch, its examples within reach.

    Args:
        model: The network. Its gradients are cleared before each pass.
        loss: One number an example, ``(B,)``, of outputs and targets:
            ``nn.CrossEntropyLoss(reduction="none")``.
        inputs: A tensor ``(B, …)``; or a tuple of such for ``model(*inputs)``, a dict for ``model(**inputs)``.
        targets: Shape ``(B, …)``.
        indices: Which examples of the data set these are, shape ``(B,)``, for rules that remember examples;
            ``None`` where it is not known.
        backward: Computes the gradients of the loss; ``loss.backward()`` unless a library has its own, as in
            ``backward=accelerator.backward``.
        another: Returns the closure of a fresh batch, for rules that take several batches a step; ``None``
            for this batch again.
        autocast: The lower precision that forward passes are computed in where that is safe, such as
            ``torch.bfloat16``; ``None`` for none. Losses are computed from outputs in the weights' own.

    Attributes:
        last: The last forward pass of this batch in this step, without graph; ``None`` before the first.
        share: The part of the whole batch that this is, 1 for the whole.
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
        counts = [len(tensor) if tensor.ndim else 0 for tensor in tensors_of(inputs)]
        wrong = next((count for count in counts if count != len(targets)), None)
        if wrong is not None or (indices is not None and len(indices) != len(targets)):
            given = "" if indices is None else f" and {len(indices)} indices"
            seen = counts[0] if wrong is None else wrong
            raise UsageError(f"a batch needs one target an input, got {seen} and {len(targets)}{given}")
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
        """A forward pass, with a graph where gradients are recorded.

        Raises:
            UsageError: The loss does not return one number an example.
        """
        found = self._evaluated(self.inputs, self.targets)
        self.last = Evaluation(found.outputs.detach(), found.losses.detach())
        return found

    @property
    def first_outputs(self) -> Tensor:
        """The outputs that pass 1 had for the whole batch, in its order."""
        outputs = torch.cat([seen for _, seen in self._first])
        rows = [row for row, _ in self._first if row is not None]
        return outputs[torch.cat(rows).argsort()] if rows else outputs

    def part(self, rows: Rows) -> "BatchClosure":
        """The closure of some of the examples.

        Args:
            rows: Which of them: a slice, or their numbers in this batch, shape ``(b,)``.
        """
        own = torch.arange(len(self), device=self.targets.device) if self._rows is None else self._rows
        indices = None if self.indices is None else self.indices[on_device_of(self.indices, rows)]
        part = self._copy(inputs=chosen(self.inputs, rows), targets=self.targets[rows], indices=indices)
        part._rows = own[rows]
        part.share = self.share * len(part) / len(self)
        return part

    def plus(self, term: Term) -> "BatchClosure":
        """The closure whose gradients are those of the loss and a term of the forward pass.

        Args:
            term: A 0-dim tensor with a graph, of the evaluation.
        """
        sum_ = self._copy(inputs=self.inputs, targets=self.targets, indices=self.indices)
        sum_._term, sum_._rows, sum_.share = term, self._rows, self.share
        return sum_

    def another(self) -> "BatchClosure":
        """The closure of a fresh batch, where this was made with such; otherwise this one."""
        return self if self._another is None else self._another()

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Inside, the network is in evaluation mode; afterwards each module is in the mode it had."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _evaluated(self, inputs: Inputs, targets: Tensor) -> Evaluation:
        # A copy costs a thousandth of a pass, and only a copy protects against every way to write to a tensor.
        inputs, targets = copied(inputs, targets)
        if self._autocast is None:
            outputs = answered(self.model, inputs)
        else:
            weight = next(p for p in self.model.parameters() if p.is_floating_point())
            with torch.autocast(weight.device.type, self._autocast):
                outputs = answered(self.model, inputs)
            outputs = outputs.to(weight.dtype)
        losses = self._loss(outputs, targets)
        if not isinstance(losses, Tensor) or losses.shape != (len(targets),):
            found = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise UsageError(
                f"the loss of a BatchClosure returned {found} for {len(targets)} examples; it has to return one "
                f'number an example, as nn.CrossEntropyLoss(reduction="none") does'
            )
        return Evaluation(outputs, losses)

    def _note(self, outputs: Tensor) -> None:
        """Remember what pass 1 answered, until it has seen the whole batch."""
        if sum(len(seen) for _, seen in self._first) < round(len(self) / self.share):
            self._first.append((self._rows, outputs.detach()))

    def _options(self) -> dict[str, Any]:
        return {"backward": self.backward, "another": self._another, "autocast": self._autocast}

    def _made(self, **options: Any) -> "BatchClosure":
        return BatchClosure(self.model, self._loss, **options)

    def _copy(self, **data: Any) -> "BatchClosure":
        copy = self._made(**data, **self._options())
        copy._term, copy._first = self._term, self._first
        return copy
