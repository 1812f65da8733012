"""The gradient of one step's batch at displaced weights: the passes of a sharpness-aware step."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.batch_closure import BatchClosure, Evaluation
from landscape.optim.flat_parameters import FlatParameters
from landscape.optim.loss_scale import LossScale
from landscape.optim.pass_state import RandomState, WrittenInputs, frozen_statistics
from landscape.optim.vector import HALF, SMALL, dot, number, total, unit

Closure = Callable[[], Tensor]
_NOTHING = nullcontext()


class NotFiniteError(ArithmeticError):
    """A gradient has a coordinate that is not a finite number; the step is skipped."""


class GradientsAt:
    """``gradients_at(ε)`` is ∇L(w + ε), on the batch of the closure.

    A later pass repeats the random numbers of the first one (dropout masks) and leaves no trace in batch-norm
    statistics or in the random streams. The weights are w again when a pass is over.

    Args:
        flat: The parameters.
        closure: The loss of the step.
        scale: The scale of the loss.
        norms: The modules that keep running statistics.
        model: The network, whose inputs are restored where it has written to them; ``None`` for not.
        repeats: Whether passes may follow that repeat another.

    Attributes:
        losses: The losses of the passes so far, 0-dim tensors.
        cost: Their cost in gradients of a whole batch: a pass over a part of it counts as its share, a forward
            pass alone as a third.
        bad: Whether a vector so far was not finite, 0-dim, where only the device knows; ``None`` on the CPU, where
            the first such vector ends the step.
    """

    def __init__(
        self,
        flat: FlatParameters,
        closure: Closure,
        scale: LossScale,
        norms: Sequence[nn.Module] = (),
        model: nn.Module | None = None,
        *,
        repeats: bool = True,
    ) -> None:
        self.losses: list[Tensor] = []
        self.cost: float = 0
        self.bad = None if flat.is_on_host else torch.zeros((), dtype=torch.bool, device=flat.device)
        self.flat, self._closure, self._scale, self._norms = flat, closure, scale, norms
        self._inputs, self._random = WrittenInputs(model), RandomState(flat.device)
        self._repeats = repeats
        # The gradient of the last pass, how often it had been written to, and its squared length.
        self._last: Tensor | None = None
        self._version, self._square = 0, math.nan
        if isinstance(closure, BatchClosure):
            closure.begin_step()

    def __call__(
        self, displacement: Tensor | None = None, *, closure: Closure | None = None, first: bool = False
    ) -> Tensor:
        """The gradient ``(n,)`` at w + displacement; its loss is appended to ``losses``.

        Args:
            displacement: ε, shape ``(n,)``; ``None`` for w itself.
            closure: Another loss instead of the step's, such as that of a part of the batch.
            first: Whether the pass draws new random numbers, which later passes then repeat, and updates the
                batch-norm statistics.

        Raises:
            NotFiniteError: The gradient is not finite, and on the CPU. Elsewhere it is zero, and ``bad`` is true.
            UsageError: The closure returned no loss, or computed no gradient.
        """
        return self._pass(displacement, 1.0, closure or self._closure, first=first)

    def along(self, vector: Tensor, radius: float | Tensor) -> Tensor:
        """The gradient ``(n,)`` at ``w + ρ v / ‖v‖``: ``gradients_at(unit(v, times=ρ))`` in fewer calls of torch."""
        square = self._square if vector is self._last and vector._version == self._version else math.nan
        if math.isnan(square) and vector.device.type == "cpu" and vector.dtype not in HALF:
            square = number(dot(vector, vector))
        if math.isnan(square) or isinstance(radius, Tensor):
            return self(unit(vector, times=radius))
        return self._pass(vector, radius / (math.sqrt(square) + SMALL), self._closure, first=False)

    def _pass(self, displacement: Tensor | None, times: float, evaluate: Closure, *, first: bool) -> Tensor:
        flat = self.flat
        flat.clear_gradients()
        self._inputs.put_back()
        trace: AbstractContextManager[None] = self._random
        if first:
            trace = _NOTHING
            if self._repeats:
                self._random.record()
                trace = _NOTHING if isinstance(evaluate, BatchClosure) else self._inputs
        assert first or self._repeats, "an optimizer with is_single_pass takes one gradient a step"
        try:
            if displacement is not None:
                flat.displace(displacement, times)
            with trace:
                torch._C._set_grad_enabled(True)  # which `torch.enable_grad` does in four times the time
                loss = evaluate() if first or not self._norms else self._evaluate_frozen(evaluate)
        finally:
            torch._C._set_grad_enabled(False)  # as in the whole step
            if displacement is not None:
                flat.restore()
        if loss is None:
            raise UsageError("the closure returned None; end it with `return loss`")
        self.losses.append(
            loss.detach()
            if isinstance(loss, Tensor)
            else torch.tensor(float(loss), dtype=torch.float32, device="cpu")
        )
        self.cost += evaluate.share if isinstance(evaluate, BatchClosure) else 1
        gradients = flat.gradients()
        if gradients is None:
            raise UsageError(
                "the closure left no gradient on any parameter; it has to call loss.backward() before "
                "`return loss`, on a loss that depends on the parameters of this optimizer"
            )
        if self._scale.taken_out(gradients):
            flat.is_written = False
        self._last = self.finite(gradients)
        # Torch counts writes to a tensor here; a direction that is still this vector need not be copied back.
        self._version = gradients._version
        return gradients

    @property
    def batch(self) -> BatchClosure:
        """The batch of the step, for a variant with ``needs_batch``."""
        assert isinstance(self._closure, BatchClosure)
        return self._closure

    def another(self) -> Closure:
        """The closure of a fresh batch where the step's can make one; otherwise the step's again."""
        return self._closure.another() if isinstance(self._closure, BatchClosure) else self._closure

    def forward(self, displacement: Tensor | None = None) -> Evaluation:
        """The outputs and losses of the batch at w + displacement, without a gradient."""
        with self.moved(displacement), torch.no_grad():
            evaluation = self.batch.evaluate()
        self.cost += 1 / 3
        return evaluation

    def finite(self, vector: Tensor) -> Tensor:
        """The vector ``(n,)`` itself if every coordinate is finite; otherwise see :meth:`__call__`."""
        # One traversal: a sum is finite only if its terms are, short of an overflow that no step survives.
        if self.bad is None:
            square: Any = math.nan if vector.dtype in HALF else dot(vector, vector).tolist()
            self._square = square
            if not math.isfinite(square) and not math.isfinite(number(_sum(vector))):
                raise NotFiniteError("a gradient is not finite")
            return vector
        summed = _sum(vector)
        self.bad.logical_or_(summed - summed != 0)
        return vector.masked_fill_(self.bad, 0.0)

    def left(self, vector: Tensor) -> bool:
        """Whether this vector is the one that the last pass left in ``.grad``, finite and unchanged since."""
        is_last = vector is self._last and vector._version == self._version and self.flat.is_written
        return is_last and self.bad is None

    def is_bad(self) -> bool:
        """Whether a vector so far was not finite; the host waits for the device."""
        return self.bad is not None and bool(self.bad.item())

    def random_mark(self) -> int:
        """A number below 2²⁰ that stands for the random numbers of pass 1; 0 where it drew none."""
        return self._random.mark()

    @contextmanager
    def moved(self, displacement: Tensor | None) -> Iterator[None]:
        """Inside, the network is at w + displacement as in a pass: for forward passes without a gradient."""
        try:
            if displacement is not None:
                self.flat.displace(displacement)
            with self._random, frozen_statistics(self._norms):
                yield
        finally:
            if displacement is not None:
                self.flat.restore()

    def _evaluate_frozen(self, evaluate: Closure) -> Tensor:
        with frozen_statistics(self._norms):
            return evaluate()


def _sum(vector: Tensor) -> Tensor:
    return total(vector.sum(dtype=torch.float32 if vector.dtype in HALF else None))
