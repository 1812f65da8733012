"""Finds the module that holds an operation without a second derivative."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective.autograd_graph import custom_functions, forbids_structure_only, structure_only
from landscape.objective.batch import Batch, tensors_in
from landscape.objective.risk import Risk
from landscape.reductions import exact

# Torch has no class of exception for this, only these words.
_SIGNS = re.compile(
    r"is not implemented|not supported for (CuDNN|MIOpen)|once_differentiable|does not support double backward"
    r"|not differentiable twice|differentiate twice",
    re.IGNORECASE,
)


def refuse_once_differentiable(risk: Risk, batch: Batch) -> None:
    """Refuses a network or loss with a ``once_differentiable`` function, whose second derivatives are wrong.

    Raises:
        InputError: There is one.
    """
    # torch.autograd.grad does not raise there: it leaves that part of the derivative out.
    name = _once_differentiable([with_graph(risk, batch)])
    if name:
        raise _refusal(risk, batch, f"{name} is marked once_differentiable")


def with_graph(risk: Risk, batch: Batch) -> Tensor:
    """The loss with the graph behind it, which holds no tensors unless the loss needs them."""
    if not risk.checks.differentiates:
        try:
            with structure_only():
                return risk.forward(batch)[0]
        except RuntimeError as failure:
            if not forbids_structure_only(failure):
                raise
    with torch.inference_mode(False), torch.enable_grad():
        return risk.forward(batch)[0]


@contextlib.contextmanager
def named_obstacle(risk: Risk, batch: Batch) -> Iterator[None]:
    """Turns autograd's refusal of a second derivative into one line that names the operation and the module.

    Raises:
        InputError: Instead of that refusal.
    """
    try:
        yield
    except (RuntimeError, NotImplementedError) as failure:
        if not _SIGNS.search(str(failure)):
            raise
        reason = str(failure).strip().splitlines()[0].rstrip(".")
        raise _refusal(risk, batch, reason) from failure


def _refusal(risk: Risk, batch: Batch, reason: str) -> InputError:
    order = "second derivative"
    advice = "measures of first derivatives (loss, gradient-norm, surrogate-gap) work as it is"
    try:
        torch.autograd.grad(risk.forward(batch)[0], risk.replica.parameters, allow_unused=True)
    except (RuntimeError, NotImplementedError):
        order, advice = "derivative", "or detach its argument where its derivative is to be 0"
    culprit = innermost(risk, batch, lambda module, args, kwargs: not _twice(module, args, kwargs))
    return InputError(f"{culprit} has no {order}: {reason}; replace that operation; {advice}")


def _once_differentiable(outputs: list[Tensor]) -> str:
    """The name of such a function in the graph behind the outputs; empty if there is none."""
    for step in custom_functions(outputs):
        forward: Any = getattr(type(step), "_forward_cls", None)
        code = getattr(getattr(forward, "backward", None), "__code__", None)
        # The decorator leaves no mark; but all functions that it returns share the code of its inner function.
        if code is torch.autograd.function.once_differentiable(_nothing).__code__:
            return str(forward.__name__)
    return ""


def _nothing(context: Any, *slopes: Any) -> None:
    """A function to decorate."""


def innermost(
    risk: Risk, batch: Batch, fails: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], bool]
) -> str:
    """The innermost module that fails by itself, with what it is called with; the loss if there is none."""
    model = risk.replica.model
    calls = _calls_of_modules(risk, batch)
    # A module comes after those that contain it in this order, so that the reverse meets the innermost first.
    for name, module in reversed(list(model.named_modules())):
        if name in calls and fails(module, *calls[name]):
            return f"'{name}' ({type(module).__name__})" if name else type(model).__name__
    loss = getattr(risk.loss, "__name__", type(risk.loss).__name__)
    return f"the loss ({loss})"


def _calls_of_modules(risk: Risk, batch: Batch) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of the first call of every module in a forward pass, by name."""
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def noting(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.setdefault(name, (_leaves(args), {key: _leaves(value) for key, value in kwargs.items()}))

        return note

    handles = [
        module.register_forward_pre_hook(noting(name), with_kwargs=True)
        for name, module in risk.replica.model.named_modules()
    ]
    try:
        with contextlib.suppress(RuntimeError, NotImplementedError):
            risk.forward(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _leaves(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.is_floating_point())
    if isinstance(value, tuple):
        return tuple(_leaves(part) for part in value)
    return value


def _twice(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the module alone can be differentiated twice."""
    leaves = [t for t in [*tensors_in(args), *tensors_in(kwargs), *module.parameters()] if t.requires_grad]
    try:
        outputs = [t for t in tensors_in(module(*args, **kwargs)) if t.requires_grad]
        if _once_differentiable(outputs):
            return False
        if not outputs or not leaves:
            return True
        value = torch.stack([exact(t).square().sum() for t in outputs]).sum()
        slopes = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
        curved = [s for s in slopes if s is not None and s.requires_grad]
        if curved:
            torch.autograd.grad(curved, leaves, [torch.ones_like(s) for s in curved], allow_unused=True)
    except (RuntimeError, NotImplementedError) as failure:
        return not _SIGNS.search(str(failure))
    return True
