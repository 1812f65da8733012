"""The gradient of one step's batch at displaced weights: the passes of a sharpness-aware step."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim.batch_closure import BatchClosure, Evaluation
from landscape.optim.flat_parameters import FlatParameters
from landscape.optim.loss_scale import LossScale
from landscape.optim.pass_state import RandomState, WrittenInputs, frozen_statistics

Closure = Callable[[], Tensor]
_NOTHING = nullcontext()


class NotFiniteError(ArithmeticError):
    """A gradient has a coordinate that is not a finite number; the step is skipped."""


@dataclass(eq=False)
class GradientsAt:
    """``gradients_at(ε)`` is ∇L(w + ε), on the batch of the closure.

    A later pass repeats the random numbers of the first one (dropout masks) and leaves no trace in batch-norm
    statistics or in the random streams. The weights are w again when a pass is over.

    Attributes:
        losses: The losses of the passes so far, 0-dim tensors.
        cost: Their cost in gradients of a whole batch: a pass over a part of it counts as its share, a forward
            pass alone as a third.
    """

    _flat: FlatParameters
    _norms: Sequence[nn.Module]
    _inputs: WrittenInputs
    _closure: Closure
    _scale: LossScale
    losses: list[Tensor] = field(init=False, default_factory=list)
    cost: float = field(init=False, default=0)
    _last: Tensor | None = field(init=False, default=None)
    _version: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._random = RandomState(self._flat.device)
        if isinstance(self._closure, BatchClosure):
            self._closure.begin_step()

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
            NotFiniteError: The gradient is not finite.
            UsageError: The closure returned no loss, or computed no gradient.
        """
        self._flat.clear_gradients()
        evaluate = closure or self._closure
        self._inputs.put_back()
        if first:
            self._random.record()
            watch = _NOTHING if isinstance(evaluate, BatchClosure) else self._inputs.watched()
            with self._flat.moved(displacement), watch, torch.enable_grad():
                loss = evaluate()
        else:
            with self._flat.moved(displacement), self._random, self._statistics(), torch.enable_grad():
                loss = evaluate()
        if loss is None:
            raise UsageError("the closure returned None; end it with `return loss`")
        self.losses.append(loss.detach() if isinstance(loss, Tensor) else torch.tensor(float(loss)))
        self.cost += evaluate.share if isinstance(evaluate, BatchClosure) else 1
        gradients = self._flat.gradients()
        if gradients is None:
            raise UsageError(
                "the closure left no gradient on any parameter; it has to call loss.backward() before "
                "`return loss`, on a loss that depends on the parameters of this optimizer"
            )
        if self._scale.taken_out(gradients):
            self._flat.is_written = False
        self._last = finite(gradients)
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

    def left(self, vector: Tensor) -> bool:
        """Whether this vector is the one that the last pass left in ``.grad``, unchanged since."""
        return vector is self._last and vector._version == self._version and self._flat.is_written

    @contextmanager
    def moved(self, displacement: Tensor | None) -> Iterator[None]:
        """Inside, the network is at w + displacement as in a pass: for forward passes without a gradient."""
        with self._flat.moved(displacement), self._random, self._statistics():
            yield

    def _statistics(self) -> AbstractContextManager[None]:
        return frozen_statistics(self._norms) if self._norms else _NOTHING


def finite(vector: Tensor) -> Tensor:
    """The vector itself, if every coordinate is finite; raises :class:`NotFiniteError` otherwise."""
    # One traversal: a sum is finite only if its terms are, short of an overflow that no step survives.
    wide = torch.float32 if vector.dtype in (torch.float16, torch.bfloat16) else None
    if not math.isfinite(vector.sum(dtype=wide)):
        raise NotFiniteError("a gradient is not finite")
    return vector
