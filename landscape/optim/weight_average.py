"""Weights averaged over the last part of a run: what SWA adds to any optimizer.

SWA itself averages plain descent. The average of another rule is that rule with this class before it::

    class AveragedSAM(WeightAverage, SAM): ...

    optimizer = AveragedSAM(base, model=model, rho=0.1, total_steps=steps)
"""

from typing import Any

import torch
from torch import Tensor, nn

from landscape.optim.bounds import within
from landscape.optim.sharpness_aware import SharpnessAware


class WeightAverage(SharpnessAware):
    """The running mean ``v ← v + (w − v) / (n + 1)`` of the weights w, never of displaced ones.

    Args:
        base: The optimizer that takes the step.
        model: The network; needed if it has batch norm.
        total_steps: Steps of the whole run.
        start: The part of the run, in [0, 1], after which w is averaged.
        interval: Steps from one averaged w to the next, at least 1.
        rule: Options of the averaged rule.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        total_steps: int,
        start: float = 0.75,
        interval: int = 1,
        **rule: Any,
    ) -> None:
        super().__init__(base, model=model, **rule)
        self.total_steps = int(within("total_steps", total_steps, 1))
        self.start = within("start", start, 0.0, 1.0)
        self.interval = int(within("interval", interval, 1))

    def after_step(self) -> None:
        """Take the new weights into the mean."""
        super().after_step()
        since = self.steps - self.start * self.total_steps
        if since <= 0 or self.steps % self.interval:
            return
        count, average = int(self.memory.get("averaged", 0)), self.memory.get("average")
        kept = self.weights.clone()
        if isinstance(average, Tensor):
            kept = average + (kept - average) / (count + 1)
        self.memory["averaged"], self.memory["average"] = count + 1, kept

    def evaluation_weights(self) -> Tensor | None:
        """The mean; ``None`` before it has begun."""
        average = self.memory.get("average")
        return average if isinstance(average, Tensor) else None
