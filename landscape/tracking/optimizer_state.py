"""What an optimizer is about to do: its next update, and the matrix by which it divides its step."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.curvature.preconditioning import Preconditioner
from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.optim.erm import ERM
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.records.estimate import Estimate
from landscape.registry.names import Specification

Names = Sequence[str]
_ADAPTIVE = {"Adam", "AdamW"}
_ALONG_UPDATE = ("critical-sharpness", "directional-sharpness")
_EIGENVALUES = ("dominant-eigenvalue", "top-eigenvalues")


def base_of(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that moves the weights: that inside of a SAM, of Lightning's wrapper or of Accelerate's."""
    for name in ("base", "_optimizer", "optimizer"):
        inner = getattr(optimizer, name, None)
        if isinstance(inner, torch.optim.Optimizer) and inner is not optimizer:
            return base_of(inner)
    return optimizer


def known_to(
    optimizer: torch.optim.Optimizer | None, specification: Specification, point: Objective, model: nn.Module
) -> dict[str, Any]:
    """The arguments of a measure that a user cannot type, because an optimizer knows them.

    Args:
        optimizer: That of the loop; without one, there are none.
        specification: The measure.
        point: Where it measures.
        model: The network that the optimizer trains, of which the point is a copy.

    Raises:
        UsageError: The optimizer does not know what the measure needs.
    """
    if optimizer is None:
        return {}
    names = point.layout.names
    if specification.name in _ALONG_UPDATE:
        gradient = dict(zip(names, point.layout.split(point.gradient), strict=True))
        return {"update": next_update(optimizer, model, names, gradient)}
    if specification.name == "preconditioned-sharpness":
        return {"preconditioner": preconditioner_of(optimizer, model, names)}
    return {}


def next_update(
    optimizer: torch.optim.Optimizer, model: nn.Module, names: Names, gradient: Mapping[str, Tensor]
) -> Tensor:
    """Δ ``(n,)`` of the next step θ ← θ − ηΔ with this gradient, η being the learning rate of the first group.

    Of a copy of the optimizer, whose step is taken; nothing of the optimizer changes. What it adds by itself, such as
    momentum and weight decay, is part of Δ.

    Args:
        optimizer: Of torch, or like it; of a SAM its base.
        model: The network whose parameters it has.
        names: The free parameters, in the order of the vector.
        gradient: By name, of the shape of the parameter.

    Raises:
        UsageError: The learning rate is zero.
    """
    base = base_of(optimizer)
    rate = float(base.param_groups[0]["lr"])
    if rate == 0:
        raise UsageError("the learning rate is zero: the next step has no direction")
    parameters = dict(model.named_parameters())
    # The memory of deepcopy says which copy is whose.
    memory: dict[int, Any] = {}
    twin = copy.deepcopy(base, memory)
    copies = {name: memory.get(id(parameters[name])) for name in names}
    for group in twin.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    before = {}
    for name, parameter in copies.items():
        if parameter is not None:
            before[name] = parameter.detach().clone()
            parameter.grad = gradient[name].to(parameter.dtype).view_as(parameter)
    for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        getattr(twin, hooks, {}).clear()
    # The method of the class: a scheduler replaces that of the instance by one that counts.
    type(twin).step(twin)
    moved = [
        (before[name] - parameter.detach()).flatten().to(gradient[name].dtype) / rate
        if parameter is not None
        else torch.zeros_like(gradient[name]).flatten()
        for name, parameter in copies.items()
    ]
    return torch.cat(moved)


def preconditioner_of(optimizer: torch.optim.Optimizer, model: nn.Module, names: Names) -> Preconditioner:
    """P of an optimizer with its threshold, for :func:`landscape.measures.preconditioned_sharpness`.

    Of SGD with momentum, Adam, AdamW and RMSprop. Where groups have learning rates of their own, P holds what sets
    them apart from the first one. Parameters that the optimizer does not have do not move: P is infinite there. The
    decay of AdamW, which is taken apart from the gradient, is left out.

    Raises:
        UsageError: Another optimizer, groups whose momenta differ, or a state that is not there yet.
    """
    base = base_of(optimizer)
    kind = type(base).__name__
    if kind not in (_ADAPTIVE | {"SGD", "RMSprop"}):
        raise UsageError(
            f"preconditioned-sharpness: the step of {kind} has no known threshold; it is known of SGD, RMSprop, "
            "Adam and AdamW"
        )
    groups = base.param_groups
    rate, momentum = float(groups[0]["lr"]), _momentum(groups[0])
    if rate == 0:
        raise UsageError("preconditioned-sharpness: the learning rate is zero, and no step is unstable")
    if any(_momentum(group) != momentum or _decay(group) != _decay(groups[0]) for group in groups):
        raise UsageError(
            "preconditioned-sharpness: groups whose momentum or weight decay differ have no threshold"
        )
    group_of = {parameter: group for group in groups for parameter in group["params"]}
    parameters, pieces = dict(model.named_parameters()), []
    for parameter in (parameters[name] for name in names):
        group = group_of.get(parameter)
        if group is None or group["lr"] == 0:
            piece = torch.full_like(parameter.detach(), torch.inf)
        else:
            piece = _divisor(kind, group, base.state.get(parameter, {}), parameter) * (
                rate / float(group["lr"])
            )
        pieces.append(piece.flatten())
    return Preconditioner(
        torch.cat(pieces),
        threshold=_threshold(kind, groups[0], rate),
        decay=0.0 if kind == "AdamW" else _decay(groups[0]),
        optimizer=kind,
    )


def threshold_of(optimizer: torch.optim.Optimizer) -> float | None:
    """The eigenvalue of the Hessian above which steps of SGD are unstable; ``None`` for other optimizers."""
    base = base_of(optimizer)
    group = base.param_groups[0]
    known = type(base).__name__ == "SGD" and float(group["lr"]) > 0
    return _threshold("SGD", group, float(group["lr"])) if known else None


def beside_threshold(estimate: Estimate, optimizer: torch.optim.Optimizer | None) -> Estimate:
    """An estimate of the largest eigenvalues of the Hessian with the ``threshold`` of an optimizer in its details.

    Other estimates stay as they are, and so do those of runs with a SAM, which has another edge than its base.
    """
    is_sharpness_aware = isinstance(optimizer, SharpnessAware) and not isinstance(optimizer, ERM)
    if optimizer is None or is_sharpness_aware or estimate.measure not in _EIGENVALUES:
        return estimate
    threshold = threshold_of(optimizer)
    if threshold is None or estimate.settings.get("operator") != "hessian":
        return estimate
    return dataclasses.replace(estimate, details={**estimate.details, "threshold": threshold})


def _momentum(group: Mapping[str, Any]) -> float:
    return float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))


def _decay(group: Mapping[str, Any]) -> float:
    return float(group.get("weight_decay", 0.0))


def _threshold(kind: str, group: Mapping[str, Any], rate: float) -> float:
    """Cohen et al. 2021, appendix B (heavy ball and Nesterov), and 2022, section 3 (Adam)."""
    beta = _momentum(group)
    if kind in _ADAPTIVE:
        return (2 + 2 * beta) / ((1 - beta) * rate)
    above = (2 + 2 * beta) / (1 + 2 * beta) if group.get("nesterov") else 2 + 2 * beta
    return above / ((1 - float(group.get("dampening", 0.0))) * rate)


def _divisor(kind: str, group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor) -> Tensor:
    """P at the step after this state."""
    if kind == "SGD":
        return torch.ones_like(parameter.detach())
    if "step" not in state:
        raise UsageError(f"preconditioned-sharpness: {kind} has no state yet; measure after its first step")
    if kind == "RMSprop":
        square = state["square_avg"]
        if group.get("centered"):
            square = square - state["grad_avg"] ** 2
        root: Tensor = square.sqrt() + group["eps"]
        return root
    step, (first, second) = float(state["step"]), group["betas"]
    square = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    scaled: Tensor = (1 - first**step) * ((square / (1 - second**step)).sqrt() + group["eps"])
    return scaled
