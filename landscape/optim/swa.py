"""SWA: the mean of the weights that descent passes through at the end."""

import torch
from torch import nn

from landscape.optim.erm import ERM
from landscape.optim.weight_average import WeightAverage


class SWA(WeightAverage, ERM):
    """Stochastic weight averaging: descent as it is, and the mean of its weights to evaluate. One gradient a step.

    ``evaluation_weights`` has the mean ``v ← v + (w − v) / (n + 1)`` of the weights after steps of the last
    part of the run. The learning rate should be constant or cyclic there: with one that falls to zero there
    is little to average. Batch-norm statistics have to be estimated anew for the mean, with
    ``torch.optim.swa_utils.update_bn``; ``landscape train`` does both.

    Args:
        base: The optimizer that takes the step.
        model: The network.
        total_steps: Steps of the whole run.
        start: The part of the run, in [0, 1], after which weights are averaged.
        interval: Averaged are the weights after each step whose number is a multiple of this; the paper has
            one epoch or one cycle.
        max_grad_norm: Length to which the gradient is clipped; ``None`` for no clipping.

    Reference:
        Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, 2018, arXiv 1803.05407, algorithm 1.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        total_steps: int,
        start: float = 0.75,
        interval: int = 1,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(
            base,
            model=model,
            total_steps=total_steps,
            start=start,
            interval=interval,
            max_grad_norm=max_grad_norm,
        )
