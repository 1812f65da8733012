"""SWA: descent, and the mean of its last weights."""

from dataclasses import field

import torch
from torch import Tensor

from landscape.optim.erm import ERM
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.registry.bounds import Count, Share


class WeightAverage(SharpnessAware):
    """The running mean ``v ← v + (w − v) / (n + 1)`` of the weights w, never of displaced ones.

    SWA itself averages plain descent. The average of another rule is that rule with this class before it::

        class AveragedSAM(WeightAverage, SAM): ...

        optimizer = AveragedSAM(base, model=model, rho=0.1, total_steps=steps)

    Args:
        total_steps: Steps of the whole run.
        start: The share of the run, in [0, 1], after which weights are averaged.
        interval: Steps from one averaged w to the next, at least 1.
    """

    acts_throughout = True

    total_steps: Count
    start: Share = 0.75
    stop: float = field(init=False, default=1.0)
    interval: Count = 1

    def after_step(self) -> None:
        """Take the new weights into the mean."""
        super().after_step()
        if self.attempts <= self.start * self.total_steps or self.attempts % self.interval:
            return
        average, count = self.remembered("average"), self.memory.get("averaged", 0)
        if not isinstance(count, Tensor):  # before the first, or loaded from a state of an earlier version
            count = torch.full((), count, dtype=torch.int64, device=self.flat.device)
        self.memory["averaged"] = count = count + 1
        share = count.to(self.weights.dtype).reciprocal()
        self.memory["average"] = (
            self.weights.clone() if average is None else average.lerp(self.weights, share)
        )

    def evaluation_weights(self) -> Tensor | None:
        """The mean; ``None`` before it has begun."""
        return self.remembered("average")


class SWA(WeightAverage, ERM):
    """Stochastic weight averaging: descent as it is, and the mean of its weights to evaluate. One gradient a step.

    ``evaluation_weights`` returns the mean ``v ← v + (w − v) / (n + 1)`` of the weights after steps of the last
    part of the run. The learning rate should be constant or cyclic there: with one that falls to zero there
    is little to average. Batch-norm statistics have to be estimated anew for the mean, with
    ``torch.optim.swa_utils.update_bn``; ``landscape train`` does both.

    Args:
        total_steps, start: See :class:`WeightAverage`.
        interval: Weights are averaged after each step whose number is a multiple of this; the paper has one
            epoch or one cycle.

    Reference:
        Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, 2018, arXiv 1803.05407, algorithm 1.
    """

    is_by_shards = True

    total_steps: Count  # which ERM has no use for
