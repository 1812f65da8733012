"""What is found out once, before any number: whether network, loss and data go together, and what is in the way."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape.errors import InputError, UsageError, is_out_of_memory
from landscape.isolation import plain_checkpoints, watched_randomness, without_gradients
from landscape.objective.autograd_graph import forbids_structure_only, structure_only
from landscape.objective.batch_norm import stored_layers
from landscape.objective.batches import Batch, Batches, copied, moved, tensors_in, versions
from landscape.objective.loss_weights import settle_weights
from landscape.objective.micro_batches import Piece
from landscape.objective.reached_weights import Reach, judge
from landscape.objective.replica import stochastic_modules

if TYPE_CHECKING:
    from landscape.objective.risk import Risk


_NO_GRAPH = ("does not require grad", "inference tensor", "inference mode", "InferenceMode")
"""What autograd says where a loss takes derivatives and nothing was recorded."""


def first_look(risk: "Risk", first: Piece, point: Tensor, *, constant: bool) -> None:
    """Evaluates the first batch twice.

    Args:
        risk: What to look at; gets its notes.
        first: The first batch.
        point: Where.
        constant: Whether the point is never written to by its owner.

    Raises:
        InputError: The network cannot be applied to the data, is random, or writes to its own weights.
    """
    if risk.calibration is not None:
        risk.notes.append(_calibration_note(risk.replica.model, risk.calibration))
    reach = Reach()
    with watched_randomness(risk.replica.device) as randomness, without_gradients():
        risk.replica.move(point, constant=constant)
        (a, outputs, targets), (b, _, _) = _tried(risk, first), _tried(risk, first, reach)
        if not _agree(a, b):  # random, or a network that computes something else where autograd is on
            b, _, _ = _tried(risk, first)
        randomness.judge(lambda: _tried(risk, first))
        risk.draws = randomness.draws
    if not _agree(a, b):
        active = ", ".join(stochastic_modules(risk.replica.model)[:3])
        raise InputError(
            f"the model is random: two evaluations of the first batch give {a:.6g} and {b:.6g}; random "
            f"part: {active or 'a function in its forward pass, such as F.dropout'}; switch it off "
            "(model.eval(), and F.dropout(…, training=self.training)) before measuring"
        )
    _refuse_moved_weights(risk, point)
    with risk.randomness(), without_gradients():
        judge(risk, reach, point, constant=constant, loss=lambda: _tried(risk, first)[0])
    settle_weights(risk, first.batch, outputs, targets)


def _agree(a: float, b: float) -> bool:
    return a == b or abs(a - b) <= 1e-5 * abs(a) or (a != a and b != b)


def _tried(risk: "Risk", first: Piece, reach: Reach | None = None) -> tuple[float, Any, Any]:
    """Loss, outputs and targets of the first batch; an `InputError` says why the network does not fit these data.

    Args:
        risk: Network and loss.
        first: The batch.
        reach: Told what the loss depends on, for which autograd is on.
    """

    def visit(given: Batch) -> list[Tensor]:
        with torch.inference_mode(False):  # for tensors that count how often they are written to
            batch = copied(moved(given, risk.replica.device, risk.replica.dtype))
        unwritten = versions(batch)
        try:
            with _watched() as met:
                if reach is None:
                    loss, *seen[:] = risk.forward(batch)
                else:
                    loss = _with_graph(risk, batch)
        except (UsageError, InputError):
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as failure:
            if is_out_of_memory(failure):
                raise
            if risk.differentiates or not any(words in str(failure) for words in _NO_GRAPH):
                raise InputError(_misfit(risk.replica.model, batch, failure)) from failure
            risk.differentiates = True
            return visit(given)
        if reach is not None:
            reach.add(loss)
        risk.notes += [note for note in dict.fromkeys(met) if note not in risk.notes]
        if not risk.writes_inputs and (versions(batch) != unwritten or _differ(risk, batch, given)):
            risk.writes_inputs = True
            risk.replica.input_copies.install(risk.replica.model)
            risk.notes.append("the model writes to its inputs in place: it is given copies")
        return [loss.detach().double()]

    seen: list[Any] = [None, None]
    loss = float(risk.visited(visit, first, {})[0])
    return loss, *seen


def _with_graph(risk: "Risk", batch: Batch) -> Tensor:
    """The loss with the graph behind it, which holds no tensors where it need not."""
    if not risk.differentiates:
        try:
            with structure_only():
                return risk.forward(batch)[0]
        except RuntimeError as failure:
            if not forbids_structure_only(failure):
                raise
    with torch.inference_mode(False), torch.enable_grad():
        return risk.forward(batch)[0]


def _differ(risk: "Risk", batch: Batch, given: Batch) -> bool:
    """Whether a batch was written to in a way that autograd does not count, such as through ``.data`` or numpy."""
    fresh = moved(given, risk.replica.device, risk.replica.dtype)
    return any(not torch.equal(a, b) for a, b in zip(tensors_in(batch), tensors_in(fresh), strict=True))


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


def _calibration_note(model: nn.Module, calibration: Batches) -> str:
    if not stored_layers(model):
        return "nothing to recalibrate: no layer stores batch-norm statistics"
    return f"batch-norm statistics are recomputed at every point, on {calibration.num_examples:,} examples"


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
