"""From two names to an optimizer: ``"gsam:rho=0.05,alpha=0.4"`` over ``"sgd:momentum=0.9"``."""

import torch
from torch import nn

from landscape.errors import UsageError
from landscape.optim.erm import ERM
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.table import OPTIMIZERS


def build_optimizer(
    model: nn.Module,
    *,
    optimizer: str = "sgd",
    base: str = "sgd",
    lr: float = 0.1,
    total_steps: int | None = None,
    steps_per_epoch: int | None = None,
    num_examples: int | None = None,
    seed: int = 0,
) -> SharpnessAware:
    """The optimizer of that name for all parameters of a model.

    Args:
        model: The network.
        optimizer: A name of ``OPTIMIZERS`` with options. A base such as ``"sgd"`` or ``"adamw"`` is used as
            it is, one gradient a step, and ``base`` is not looked at.
        base: What takes the step for a sharpness-aware optimizer.
        lr: Learning rate.
        total_steps: Steps of the whole run, for the optimizers that have an option of that name and were not
            given it.
        steps_per_epoch: Steps in an epoch, likewise.
        num_examples: Examples of the training set, likewise.
        seed: Of the numbers that the optimizer draws for itself. Replicas of one run need the same.

    Raises:
        UsageError: A name or an option does not exist, or a value is not allowed.
    """
    name = OPTIMIZERS.parse(optimizer).name
    if OPTIMIZERS.row(name).is_base:
        return ERM(_build_base(model, optimizer, lr), model=model)
    context = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch, "num_examples": num_examples}
    known = {key: value for key, value in context.items() if value is not None}
    built = OPTIMIZERS.build(optimizer, _build_base(model, base, lr), model=model, **known)
    assert isinstance(built, SharpnessAware)
    built.generator.manual_seed(seed)
    return built


def _build_base(model: nn.Module, base: str, lr: float) -> torch.optim.Optimizer:
    if not OPTIMIZERS.row(OPTIMIZERS.parse(base).name).is_base:
        names = ", ".join(name for name in OPTIMIZERS if OPTIMIZERS[name].is_base)
        raise UsageError(f"base={base} is not a base optimizer; choose one of {names}")
    try:
        return OPTIMIZERS.build(base, model.parameters(), lr=lr)
    except UsageError:
        raise
    except ValueError as refusal:
        raise UsageError(f"{base}: {refusal}") from None
