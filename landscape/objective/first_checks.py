"""One-time checks, before any number, that network, loss and data fit together.

The first batch is evaluated twice. Besides what the first pass shows (a random network, writes to inputs or weights),
the graph behind the loss tells which weights it depends on: those of the private copy, and in a way that autograd
records. What a loss reads past the copy stands still while the copy moves, and what is detached has a derivative that
autograd takes for zero. Either way a number would come out, and be called exact.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape.draws import Draws
from landscape.errors import InputError, ProcessFailed, UsageError, is_out_of_memory
from landscape.isolation.attention import is_attention
from landscape.isolation.checkpointing import plain_checkpoints
from landscape.isolation.derivatives import without_gradients
from landscape.isolation.randomness import watched_randomness
from landscape.losses.outputs import scores, wants_scores
from landscape.objective.autograd_graph import leaves
from landscape.objective.batch import Batch, copied, moved, tensors_in, versions
from landscape.objective.differentiability import with_graph
from landscape.objective.loss_weights import settle_weights
from landscape.objective.micro_batches import Piece
from landscape.objective.misfits import FAILURES, misfit, refuse_absent_rows, refuse_broadcast, same_tokens
from landscape.objective.quantised import gradient_past_integers, nothing_free, stopped
from landscape.objective.replica import stochastic_modules
from landscape.objective.risk import Risk
from landscape.parameters import integer_weights
from landscape.reductions import exact

Visited = Callable[[Callable[[Risk, Batch], list[Tensor]]], list[Tensor]]

STEP = 1e-2  # by how much weights without a derivative are changed, relative to each, to see whether the loss changes
CHANGE = 1e-5  # relative change of a loss that is more than rounding

# What autograd says if a loss takes derivatives and nothing was recorded; it has no exception of its own for that.
_NO_GRAPH = ("does not require grad", "inference tensor", "inference mode", "InferenceMode")


def checked(risk: Risk, first: Piece, point: Tensor, *, visited: Visited, constant: bool) -> Risk:
    """The risk with the result of the first checks; ``visited`` applies a visit to the first batch at a point.

    Raises:
        InputError: The network cannot be applied to the data, is random, or writes to its own weights; or the loss
            reaches the weights of the user's own network.
    """
    replica = risk.replica
    look = _FirstLook(risk, visited)
    with watched_randomness(replica.device) as randomness, without_gradients():
        # To a copy, so that writes of a forward pass to its own weights show.
        replica.leave()
        replica.move(point, constant=False)
        a, outputs, targets = look.evaluate()
        refuse_broadcast(risk.loss, outputs, targets)
        reached: dict[int, Tensor] = {}
        b, _, _ = look.evaluate(reached)
        if not _agree(a, b):  # random, or a network that computes something else where autograd is on
            b, _, _ = look.evaluate()
        randomness.judge(look.evaluate)
        look.note(draws=randomness.draws)
    if not _agree(a, b):
        active = ", ".join(stochastic_modules(replica.model)[:3])
        raise InputError(
            f"the model is random: two evaluations of the first batch give {a:.6g} and {b:.6g}; random "
            f"part: {active or 'a function in its forward pass, such as F.dropout'}; switch it off "
            "(model.eval(), and F.dropout(…, training=self.training)) before measuring"
        )
    _refuse_moved_weights(risk, point)
    if integer_weights(replica.model):
        slope = gradient_past_integers(look.risk, visited)
        free = zip(replica.parameters, replica.layout.split(slope), strict=True)
        for stopped_at in [parameter for parameter, part in free if bool(part.isnan().any())]:
            reached.pop(id(stopped_at), None)
    with look.risk.randomness(), without_gradients():
        underived, notes = judged(risk, reached, point, constant=constant, loss=lambda: look.evaluate()[0])
    notes += settle_weights(look.risk, first.batch, outputs, targets)
    notes += same_tokens(risk.loss, first.batch)
    shape = outputs.to("meta") if isinstance(outputs, Tensor) else None
    look.note(*notes, done=True, outputs=shape, underived=underived, attention=look.attention)
    return look.risk


class _FirstLook:
    """Evaluations of the first batch; ``risk`` holds the findings so far."""

    def __init__(self, risk: Risk, visited: Visited) -> None:
        self.risk = risk
        self.attention = False
        self._visited = visited

    def note(self, *notes: str, **findings: Any) -> None:
        """Adds to the result of the checks."""
        checks = self.risk.checks
        notes = tuple(dict.fromkeys((*checks.notes, *notes)))
        self.risk = dataclasses.replace(
            self.risk, checks=dataclasses.replace(checks, notes=notes, **findings)
        )

    def evaluate(self, reached: dict[int, Tensor] | None = None) -> tuple[float, Any, Any]:
        """Loss, outputs and targets of the first batch.

        With ``reached``, which gets the leaves of the graph behind the loss by identity, the loss alone.
        """
        parts: list[Any] = [None, None]

        def visit(_: Risk, source: Batch) -> list[Tensor]:
            risk = self.risk
            with torch.inference_mode(False):  # for tensors that count how often they are written to
                batch = copied(moved(source, risk.replica.device, risk.replica.dtype))
            unwritten = versions(batch)
            try:
                with self._watched() as notes, self._scores_noted():
                    if reached is None:
                        loss, *parts[:] = risk.forward(batch)
                    else:
                        loss = with_graph(risk, batch)
            except (UsageError, InputError, ProcessFailed):
                raise
            except FAILURES as failure:
                if is_out_of_memory(failure):
                    raise
                if risk.checks.differentiates or not any(words in str(failure) for words in _NO_GRAPH):
                    raise InputError(misfit(risk.replica.model, risk.loss, batch, failure)) from failure
                self.note(differentiates=True)
                return visit(risk, source)
            if reached is not None:
                reached.update({id(leaf): leaf for leaf in leaves([loss])})
            self.note(*notes)
            if not risk.checks.writes_inputs and _written(risk, batch, source, unwritten):
                risk.replica.input_copies.install(risk.replica.model)
                self.note("the model writes to its inputs in place: it is given copies", writes_inputs=True)
            return [exact(loss.detach())]

        loss = float(self._visited(visit)[0])
        return loss, *parts

    @contextlib.contextmanager
    def _watched(self) -> Iterator[list[str]]:
        """Notes what a forward pass uses that has no second derivative, and what is used instead."""
        look, notes = self, list[str]()

        class Watch(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                look.attention |= is_attention(func)
                if func is torch.nn.functional.embedding and len(args) >= 2:
                    refuse_absent_rows(look.risk.replica.model, args[0], args[1])
                if func is torch.nn.functional.scaled_dot_product_attention:
                    notes.append("attention by matrix products: the fused kernels have no second derivative")
                return func(*args, **(kwargs or {}))

        with plain_checkpoints() as reentrant, Watch():
            yield notes
        if reentrant:
            notes.append("activation checkpointing is off: autograd.grad cannot pass its reentrant form")

    @contextlib.contextmanager
    def _scores_noted(self) -> Iterator[None]:
        """Notes if a network returns more than its scores; from then on, it returns nothing else."""
        model, returned = self.risk.replica.model, list[Any]()
        if not wants_scores(self.risk.loss):
            yield
            return
        handle = model.register_forward_hook(lambda module, inputs, outputs: returned.append(outputs))
        try:
            yield
        finally:
            handle.remove()
        if not isinstance(returned[-1], Tensor):
            _, where = scores(returned[-1])
            self.note(
                f"{type(model).__name__} returns a {type(returned[-1]).__name__}; the scores are {where}"
            )
            # On the model, so that every derivative and every measure sees a tensor.
            model.register_forward_hook(lambda module, inputs, outputs: scores(outputs)[0])


def _agree(a: float, b: float) -> bool:
    return a == b or abs(a - b) <= 1e-5 * abs(a) or (a != a and b != b)


def _written(risk: Risk, batch: Batch, source: Batch, unwritten: list[int]) -> bool:
    """Whether a batch was written to, also if autograd does not count it (through ``.data`` or numpy)."""
    if versions(batch) != unwritten:
        return True
    fresh = moved(source, risk.replica.device, risk.replica.dtype)
    return any(not torch.equal(a, b) for a, b in zip(tensors_in(batch), tensors_in(fresh), strict=True))


def _refuse_moved_weights(risk: Risk, point: Tensor) -> None:
    pairs = zip(risk.replica.parameters, risk.replica.layout.named(point).items(), strict=True)
    names = [name for now, (name, before) in pairs if not _same(now.detach(), before)]
    if not names:
        return
    raise InputError(
        f"the forward pass of {type(risk.replica.model).__name__} writes to its own weights ({', '.join(names[:3])}): "
        "its loss is not a function of them; take that out of forward()"
    )


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or torch.equal(a.nan_to_num(), b.nan_to_num())


def judged(
    risk: Risk, reached: Mapping[int, Tensor], point: Tensor, *, constant: bool, loss: Callable[[], float]
) -> tuple[str, list[str]]:
    """Why derivatives would be wrong (empty if they are not), and notes on what the loss depends on."""
    replica = risk.replica
    if not replica.parameters:
        return nothing_free(risk), []
    past = [name for name, weight in replica.originals() if id(weight) in reached]
    if past:
        raise InputError(
            f"the loss reaches the weights of the model that was passed, not of the copy that is moved "
            f"({_listed(past)}), through a closure, a global or an attribute of its own: derivatives with respect to "
            "them would be missing; use the model that is passed to the loss (BatchLoss(lambda model, batch: …)), and "
            "self inside the model"
        )
    own = {id(parameter) for parameter in replica.parameters}
    others = [leaf for leaf in reached.values() if isinstance(leaf, nn.Parameter) and id(leaf) not in own]
    free = zip(replica.layout.names, replica.parameters, strict=True)
    unreached = [name for name, parameter in free if id(parameter) not in reached]
    none_reached = len(unreached) == len(replica.parameters)
    underived, notes = "", list[str]()
    if unreached and _changes(risk, unreached, point, constant, loss):
        what = f"all {len(unreached)} free parameter tensors" if none_reached else _listed(unreached)
        underived = _detached(what, all=none_reached)
        if integer_weights(replica.model):
            underived = stopped(risk, what)
    elif none_reached:
        if any(getattr(module, "merged_adapters", None) for module in replica.model.modules()):
            raise InputError(
                f"the adapters of {type(replica.model).__name__} are merged into its weights, so that the loss does "
                "not depend on them: call unmerge_adapter(), or measure the network that merge_and_unload() returns"
            )
        if others:
            raise InputError(
                f"the loss depends on no free parameter of the model, but on {len(others)} other tensors that require "
                f"a gradient (the first of shape {tuple(others[0].shape)}); use the model that is passed to the loss"
            )
        notes.append("the loss depends on no free parameter: all derivatives are zero")
    if others:
        notes.append(
            f"the loss has {len(others)} tensors of its own that require a gradient: they are held fixed"
        )
    return underived, notes


def _detached(what: str, *, all: bool) -> str:
    way_out = ", or leave them out with parameters=[…] or requires_grad_(False)"
    return (
        f"the loss changes with {what}, but autograd records no derivative: something between them and the loss is "
        f"detached (.detach(), torch.no_grad(), .item(), numpy) or has none (argmax); take that out of the "
        f"forward pass{'' if all else way_out}"
    )


def _changes(
    risk: Risk, names: Sequence[str], point: Tensor, constant: bool, loss: Callable[[], float]
) -> bool:
    """Whether the loss changes with the parameters of those names."""
    replica = risk.replica
    displaced = point.clone()
    before = loss()
    for k, (name, view) in enumerate(replica.layout.named(displaced).items()):
        if name in names:
            noise = Draws(0).normals(range(k, k + 1), view.numel(), like=view).reshape(view.shape)
            scale = view.abs() + view.square().mean().sqrt() + torch.where(view.any(), 0.0, 1.0)
            view.add_(STEP * scale * noise)
    try:
        replica.move(displaced, constant=True)
        after = loss()
    finally:
        replica.move(point, constant=constant)
    return after != before and not abs(after - before) <= CHANGE * abs(before)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(f"'{name}'" for name in names)
    return f"'{names[0]}' and {len(names) - 1} more"
