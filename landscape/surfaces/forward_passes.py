"""Loss and accuracy at many points of a plane, by the fastest forward pass that gives the same loss.

Images in the memory order that convolutions prefer (channels last) need no reordering before each of them.
``torch.compile`` fuses normalisations, sums and activations, after a compilation that takes a minute or two. Neither
is the fastest everywhere, so one batch decides.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from landscape.errors import Remark, UsageError
from landscape.objective import Objective
from landscape.objective.engine import Statistics

Eager = Literal["plain", "channels-last"]
Way = Literal["plain", "channels-last", "compiled"]
WAYS: tuple[Way, ...] = get_args(Way)

Evaluate = Callable[..., tuple[float, float | None]]
StatisticsAt = Callable[[Tensor], Statistics]

WORTHWHILE = 20_000_000  # examples times parameters; points below it gain less than the timing costs
_AGREEMENT = 1e-5  # relative: other orders of summation in float32 differ by about 1e-6
_GAIN = 1.25  # of compiling over channels last: 1.16 to 1.33 for ResNet-20, benchmarks/README.md
_SECONDS_A_LAYER = 2.0  # to compile: ResNet-20 with 69 layers took 17 to 180 s, with warm and cold caches
_PAYS_BACK = 2.0  # times the compilation that must be saved: gain and cost are only guesses


class Compiled:
    """A network's forward pass by ``torch.compile``, with weights and buffers as inputs.

    One compilation therefore serves all points, and the same network on other data.
    """

    def __init__(self, network: nn.Module) -> None:
        self._shape: torch.Size | None = None
        # An empty copy: with the network itself, torch would compile again for values that are not its own.
        frame = copy.deepcopy(network).to("meta")
        # A CUDA graph writes to the outputs of its last run, which are in the loss by then.
        graphs = {"triton.cudagraphs": True} if next(network.parameters()).is_cuda else {}
        self._compiled = torch.compile(
            lambda values, inputs: functional_call(frame, values, (inputs,)),
            dynamic=False,
            options={**graphs},
        )

    def on(self, network: nn.Module) -> Callable[[Tensor], Any]:
        """The function from inputs to outputs of this network, where it stands now."""
        values = {**dict(network.named_parameters()), **dict(network.named_buffers())}

        def outputs(inputs: Tensor) -> Any:
            self._shape = self._shape or inputs.shape
            # A ragged last batch stays eager: to compile for its shape too would cost more than it saves.
            return self._compiled(values, inputs) if inputs.shape == self._shape else network(inputs)

        return outputs


@dataclass(frozen=True)
class ForwardPass:
    """A way, with the compiled network if it is ``"compiled"``."""

    way: Way
    compiled: Compiled | None = None

    def evaluation(self, objective: Objective) -> Evaluate:
        """The function ``(point, statistics=None)`` → loss and accuracy; refused where impossible."""
        return self.functions(objective)[0]

    def functions(self, objective: Objective) -> tuple[Evaluate, StatisticsAt | None]:
        """The same, and the function from a point to its batch-norm statistics if these are recomputed."""
        prepared = (
            objective if self.way == "plain" else objective.resident(channels_last=self.way != "compiled")
        )
        if prepared is None:
            raise UsageError(
                f"forward={self.way} is not possible for this network and data; use forward=plain"
            )
        evaluate: Evaluate = prepared.evaluate
        if self.compiled is not None:
            evaluate = partial(evaluate, forward=partial(self.compiled.on, prepared.network))
        return evaluate, None if prepared.recalibrated_on is None else prepared.statistics_at


def fastest(
    objectives: Sequence[Objective], corner: Tensor, *, points: int, compiling: bool | None
) -> ForwardPass:
    """The fastest way that gives the same loss, judged by the first batch.

    Args:
        objectives: The network on the data, and on other data that are swept too.
        corner: A point ``(n,)`` at which ways are compared, as far out as the grid reaches.
        points: The number of points to compute.
        compiling: Whether to compile; ``None`` for if it pays back twice.
    """
    objective = objectives[0]
    small = objective.num_examples * objective.dimension < WORTHWHILE
    if not compiling and (small or objective.shards.gathering is not None):
        return ForwardPass("plain")
    # With fixed statistics, since the pass that recalibrates batch norm costs every way the same.
    first = next(objective.at_fixed_statistics().per_batch())
    best, other = ForwardPass("plain"), ForwardPass("channels-last")
    loss, seconds = _timed(first.evaluate, corner)
    if not small and all(each.resident(channels_last=True) is not None for each in objectives):
        other_loss, other_seconds = _timed(other.evaluation(first), corner)
        if _agree(loss, other_loss) and other_seconds < seconds:
            best, seconds = other, other_seconds
    grid_seconds = points * seconds * sum(each.num_examples for each in objectives) / first.num_examples
    if compiling is None:
        layers = sum(1 for module in first.network.modules() if not any(module.children()))
        if grid_seconds * (1 - 1 / _GAIN) < _PAYS_BACK * _SECONDS_A_LAYER * layers:
            return best
        minutes = grid_seconds / 60
        _say(
            f"the grid takes about {minutes:.0f} minutes: compiling its forward pass (--no-compile skips it)"
        )
    elif not compiling:
        return best
    try:
        compiled = compiled_pass(objectives, corner)
    except UsageError as failure:
        _say(f"{failure}; going on without it")
        return best
    if compiling is None and _timed(compiled.evaluation(first), corner)[1] >= seconds:
        _say("the compiled forward pass is not faster here; going on without it")
        return best
    return compiled


def compiled_pass(objectives: Sequence[Objective], corner: Tensor) -> ForwardPass:
    """The compiled way, if it can be compiled here and agrees with the eager one on the first batch."""
    if any(each.resident() is None for each in objectives):
        raise UsageError("torch.compile is not possible for this network and data")
    first = next(objectives[0].at_fixed_statistics().per_batch())
    # NaN in the first weights gives a finite loss if a kernel's ReLU turns NaN into 0, which would hide overflow.
    overflown = first.point.clone()
    overflown[: first.layout.entries[0].size] = math.nan
    try:
        compiled = ForwardPass("compiled", Compiled(first.network))
        evaluate = compiled.evaluation(first)
        pairs = [(evaluate(p)[0], first.evaluate(p)[0]) for p in (first.point, corner, overflown)]
    except Exception as failure:  # no compiler, no headers of Python, an unsupported operation: many types
        reason = (str(failure).strip().splitlines() or [""])[0]
        raise UsageError(f"torch.compile failed ({type(failure).__name__}: {reason[:200]})") from failure
    for loss, expected in pairs:
        if not _agree(loss, expected):
            raise UsageError(f"torch.compile gives a loss of {loss:.7g} where it is {expected:.7g}")
    return compiled


def _timed(evaluate: Evaluate, point: Tensor) -> tuple[float, float]:
    """The loss, and the shortest of the times that it took."""
    loss, _ = evaluate(point)  # the first call warms up
    times = []
    for _ in range(2):
        start = time.perf_counter()
        evaluate(point)
        times.append(time.perf_counter() - start)
    return loss, min(times)


def _agree(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_AGREEMENT, abs_tol=_AGREEMENT) or (math.isnan(a) and math.isnan(b))


def _say(message: str) -> None:
    warnings.warn(message, Remark, stacklevel=3)
