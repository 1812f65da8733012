"""Bases with a mode for training and one for evaluation, as schedule-free optimizers have.

In training the weights are where gradients are taken, and in evaluation their average. A wrapper puts its base into the
mode for training, and its ``evaluation_weights`` are those of the other, so that no loop has to change the mode.
"""

from typing import Any

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim.flat_parameters import FlatParameters


def has_modes(base: torch.optim.Optimizer) -> bool:
    """Whether the base changes the weights between training and evaluation."""
    has_methods = callable(getattr(base, "train", None)) and callable(getattr(base, "eval", None))
    return has_methods and all("train_mode" in group for group in base.param_groups)


def require_training(base: torch.optim.Optimizer) -> None:
    """Raises a :class:`UsageError` in the mode for evaluation, whose weights are not those that are trained."""
    if not all(group["train_mode"] for group in base.param_groups):
        raise UsageError(
            f"the base {type(base).__name__} is in its mode for evaluation, in which the weights are averages; call "
            "optimizer.base.train() before the next step"
        )


def evaluated_weights(base: Any, flat: FlatParameters) -> Tensor | None:
    """The weights ``(n,)`` of the mode for evaluation, for which those in place are kept bit for bit."""
    if not any(base.state.values()) or not base.param_groups[0]["train_mode"]:
        return None
    flat.begin_step()
    weights = flat.values.clone()
    base.eval()
    flat.begin_step()
    average = flat.values.clone()
    base.train()  # which computes the weights again, with rounding
    flat.assign(weights)
    return average
