"""The learning rate as a function of the step alone, so that a resumed run needs no state of a scheduler."""

import math
from typing import Literal

Schedule = Literal["cosine", "linear", "constant"]


def learning_rate_factor(
    step: int, *, steps: int, warmup_steps: int = 0, schedule: Schedule = "cosine"
) -> float:
    """The factor that multiplies the base learning rate at step t, counted from 0.

    A linear rise ``(t + 1)/w`` over the first w steps; then ``(1 + cos(π (t − w)/(T − w)))/2``,
    ``1 − (t − w)/(T − w)``, or 1 until step T.

    Reference:
        Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5 without restarts; Goyal et al. 2017,
        arXiv 1706.02677, section 2.2 for the rise.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return 1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
