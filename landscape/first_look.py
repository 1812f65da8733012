"""What is found out once, before any number: whether network, loss and data go together, and what is in the way."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape.batch_norm import recalibrate
from landscape.batches import Batch, Batches, moved, tensors_in
from landscape.errors import InputError, UsageError, is_out_of_memory
from landscape.isolation import plain_checkpoints, preserved_randomness, without_gradients
from landscape.loss_weights import settle_weights
from landscape.micro_batches import Piece
from landscape.replica import stochastic_modules

if TYPE_CHECKING:
    from landscape.risk import Risk


_NO_GRAPH = ("does not require grad", "inference tensor", "inference mode", "InferenceMode")
"""What autograd says where a loss takes derivatives and nothing was recorded."""


def first_look(risk: "Risk", first: Piece, point: Tensor, *, constant: bool) -> None:
    """Recalibrates batch norm if asked to, and evaluates the first batch twice.

    Args:
        risk: What to look at; gets its notes.
        first: The first batch.
        point: Where.
        constant: Whether the point is never written to by its owner.

    Raises:
        InputError: The network cannot be applied to the data, is random, or writes to its own weights.
    """
    if risk.calibration is not None:
        _recalibrate(risk, risk.calibration)
    with preserved_randomness(risk.replica.device), without_gradients():
        risk.replica.move(point, constant=constant)
        (a, outputs, targets), (b, _, _) = (_tried(risk, first, seed) for seed in (0, 1))
    if not (a == b or abs(a - b) <= 1e-5 * abs(a) or (a != a and b != b)):
        active = ", ".join(stochastic_modules(risk.replica.model)[:3])
        raise InputError(
            f"the model is random: two evaluations of the first batch give {a:.6g} and {b:.6g}; random "
            f"part: {active or 'a function in its forward pass, such as F.dropout'}; switch it off "
            "(model.eval(), and F.dropout(…, training=self.training)) before measuring"
        )
    _refuse_moved_weights(risk, point)
    settle_weights(risk, first.batch, outputs, targets)


def _tried(risk: "Risk", first: Piece, seed: int) -> tuple[float, Any, Any]:
    """Loss, outputs and targets of the first batch; whatever stands in the way of the network on these data is told."""

    def visit(given: Batch) -> list[Tensor]:
        batch = moved(given, risk.replica.device, risk.replica.dtype, copy=True)
        torch.manual_seed(seed)
        try:
            with _watched() as met:
                loss, *seen[:] = risk.forward(batch)
        except (UsageError, InputError):
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as failure:
            if is_out_of_memory(failure):
                raise
            if risk.differentiates or not any(words in str(failure) for words in _NO_GRAPH):
                raise InputError(_misfit(risk.replica.model, batch, failure)) from failure
            risk.differentiates = True
            return visit(given)
        risk.notes += [note for note in dict.fromkeys(met) if note not in risk.notes]
        pairs = zip(tensors_in(batch), tensors_in(given), strict=True)
        if not risk.writes_inputs and any(not torch.equal(a, b) for a, b in pairs):
            risk.writes_inputs = True
            risk.notes.append("the model writes to its inputs in place: it is given copies")
        return [loss.double()]

    seen: list[Any] = [None, None]
    loss = float(risk.visited(visit, first, {})[0])
    return loss, *seen


def _refuse_moved_weights(risk: "Risk", point: Tensor) -> None:
    layout = risk.replica.layout
    here = layout.flatten([p.detach() for p in risk.replica.parameters])
    if torch.equal(here.nan_to_num(), point.nan_to_num()):
        return
    there = layout.named(here)
    names = [name for name, was in layout.named(point).items() if not torch.equal(there[name], was)]
    raise InputError(
        f"the forward pass of {type(risk.replica.model).__name__} writes to its own weights ({', '.join(names[:3])}): "
        "its loss is not a function of them; take that out of forward()"
    )


def _recalibrate(risk: "Risk", calibration: Batches) -> None:
    def passes() -> Iterator[tuple[int, Callable[[], object]]]:
        for size, batch in calibration:
            yield size, partial(risk.forward, risk.placed(batch))

    with preserved_randomness(risk.replica.device), without_gradients():
        risk.replica.move(risk.replica.origin, constant=True)
        seen = recalibrate(risk.replica.model, passes())
    risk.notes.append(
        f"batch-norm statistics are those of {seen:,} examples at the checkpoint"
        if seen
        else "nothing to recalibrate: no layer stores batch-norm statistics"
    )


@contextlib.contextmanager
def _watched() -> Iterator[list[str]]:
    """Tells what a forward pass uses that has no second derivative, and what is used instead."""
    notes: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, arguments: Any = (), named: Any = None
        ) -> Any:
            if function is torch.nn.functional.scaled_dot_product_attention:
                notes.append("attention by matrix products: the fused kernels have no second derivative")
            return function(*arguments, **(named or {}))

    with plain_checkpoints() as met, Watch():
        yield notes
    if met:
        notes.append("activation checkpointing is off: autograd.grad cannot pass its reentrant form")


def _misfit(model: nn.Module, batch: Batch, failure: Exception) -> str:
    shapes = []
    named = batch if isinstance(batch, Mapping) else {}
    if isinstance(batch, tuple) and len(batch) == 2:
        named = dict(zip(("inputs", "targets"), batch, strict=True))
    for name, part in named.items():
        if isinstance(part, Tensor) and part.numel():
            bounds = f", values {part.min().item():.4g} to {part.max().item():.4g}"
            shapes.append(f"{name} {tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}{bounds}")
    reason = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    seen = f" ({'; '.join(shapes)})" if shapes else ""
    return f"{type(model).__name__} cannot be evaluated on this data{seen}: {reason}"
