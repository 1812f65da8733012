"""Loss and accuracy at many points of one plane, by the quickest forward passes that give the same value.

A batch norm with stored statistics is an affine map, so that the convolution before it can take it in; that is done
anew at each point, since both move. Images in the memory order that convolutions prefer (channels last) save their
reordering. Neither wins everywhere: a point is computed each way, and a way that loses or disagrees is not taken.
"""

import operator
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from landscape.batches import KEPT_BYTES, moved
from landscape.isolation import preserved_randomness, without_gradients
from landscape.objective import Objective
from landscape.risk import BatchLoss, Risk, correct

Way = Literal["plain", "channels-last", "folded", "folded-channels-last"]
WAYS: tuple[Way, ...] = ("plain", "channels-last", "folded", "folded-channels-last")

Evaluate = Callable[[Tensor], tuple[float, float | None]]

WORTHWHILE = 20_000_000
"""Examples times parameters of a point below which it is computed in the plain way: nothing is to be won."""

_AGREEMENT = 1e-5
_PREFERRED: tuple[Way, ...] = ("folded-channels-last", "folded", "channels-last")
_TRIALS = 2


def evaluation(objective: Objective, way: Way) -> Evaluate | None:
    """The function point ``(n,)`` → loss and accuracy; ``None`` where that way is not possible."""
    if way == "plain":
        return objective.evaluate
    return _prepared(objective, fold="folded" in way, channels_last="channels-last" in way)


def quickest(objective: Objective, point: Tensor) -> Way:
    """The first way, of those that should be quick, which gives the same loss at ``point`` and is no slower there.

    What should be quick is fixed, and time only decides against it, so that on an even load the same is chosen each
    time.
    """
    if objective.num_examples * objective.dimension < WORTHWHILE:
        return "plain"
    expected, limit = _timed(objective.evaluate, point)
    for way in _PREFERRED:
        evaluate = evaluation(objective, way)
        if evaluate is None:
            continue
        found, seconds = _timed(evaluate, point)
        if abs(found - expected) <= _AGREEMENT * max(1.0, abs(expected)) and seconds < limit:
            return way
    return "plain"


def _timed(evaluate: Evaluate, point: Tensor) -> tuple[float, float]:
    """The loss, and the least of the seconds that it took."""
    loss, _ = evaluate(point)
    least = float("inf")
    for _ in range(_TRIALS):
        start = time.perf_counter()
        evaluate(point)
        least = min(least, time.perf_counter() - start)
    return loss, least


def _prepared(objective: Objective, *, fold: bool, channels_last: bool) -> Evaluate | None:
    risk = objective._risk
    if isinstance(risk.loss, BatchLoss):
        return None
    model: nn.Module = risk.replica.model
    folds: list[_Fold] = []
    if fold:
        found = _folded(model, channels_last=channels_last)
        if found is None:
            return None
        model, folds = found
    batches = _placed(risk, channels_last=channels_last)
    if batches is None:
        return None
    total, loss_of, replica = risk.batches.num_examples, risk.loss, risk.replica

    def evaluate(point: Tensor) -> tuple[float, float | None]:
        loss = torch.zeros((), dtype=torch.float64, device=replica.device)
        right: Tensor | None = None
        with without_gradients(), preserved_randomness(replica.device):
            replica.move(point, constant=False)
            for each in folds:
                each.refresh()
            for size, inputs, targets in batches:
                outputs = model(inputs)
                loss += loss_of(outputs, targets).double() * (size / total)
                for part in correct(outputs, targets):
                    right = part * size if right is None else right + part * size
        risk.ledger.total = max(risk.ledger.total, total)
        risk.ledger.counts.update({"evaluations": total})
        return float(loss), None if right is None else round(float(right)) / total

    return evaluate


def _placed(risk: Risk, *, channels_last: bool) -> list[tuple[int, Tensor, Tensor]] | None:
    """The batches where the network is, once for all points; ``None`` if they are too many or of another kind."""
    found: list[tuple[int, Tensor, Tensor]] = []
    held = 0
    for size, batch in risk.batches:
        placed = moved(batch, risk.replica.device, risk.replica.dtype)
        if not (
            isinstance(placed, tuple) and len(placed) == 2 and all(isinstance(p, Tensor) for p in placed)
        ):
            return None
        inputs, targets = placed
        if channels_last:
            if inputs.ndim != 4:
                return None
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        held += inputs.numel() * inputs.element_size()
        if held > KEPT_BYTES:
            return None
        found.append((size, inputs, targets))
    return found


@dataclass(frozen=True)
class _Fold:
    """A convolution and the batch norm behind it, and the convolution that does the work of both."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    both: nn.Conv2d

    def refresh(self) -> None:
        """Takes over the weights from where the network stands now."""
        norm, convolution = self.norm, self.convolution
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert self.both.bias is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
        self.both.weight.copy_(convolution.weight * scale.view(-1, 1, 1, 1))
        self.both.bias.copy_(shift * scale if norm.bias is None else torch.addcmul(norm.bias, shift, scale))


def _folded(model: nn.Module, *, channels_last: bool) -> tuple[nn.Module, list[_Fold]] | None:
    """The network with every batch norm taken in that directly follows a convolution; ``None`` if none does.

    It shares all other modules, and so their weights, with ``model``.
    """
    try:
        graph = torch.fx.Tracer().trace(model)
        traced = torch.fx.GraphModule(model, graph)
    except Exception:  # whatever a forward pass does that cannot be traced, the plain way can
        return None
    modules = dict(model.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    folds: list[_Fold] = []
    for node in list(graph.nodes):
        if node.op != "call_module" or not isinstance(node.args[0] if node.args else None, torch.fx.Node):
            continue
        before, norm = node.args[0], modules[node.target]
        convolution = modules.get(before.target) if before.op == "call_module" else None
        if type(norm) is not nn.BatchNorm2d or norm.training or norm.running_mean is None:
            continue
        if type(convolution) is not nn.Conv2d or len(before.users) > 1:
            continue
        if calls.count(node.target) > 1 or calls.count(before.target) > 1:
            continue
        both = _like(convolution, channels_last=channels_last)
        name = f"folded_{len(folds)}"
        traced.add_submodule(name, both)
        folds.append(_Fold(convolution, norm, both))
        before.target = name
        node.replace_all_uses_with(before)
        graph.erase_node(node)
    if not folds:
        return None
    _overwrite(graph, modules)
    traced.recompile()
    return traced, folds


def _overwrite(graph: torch.fx.Graph, modules: Mapping[str, nn.Module]) -> None:
    """Lets sums and ReLUs write into their operand where it is the result of a folded convolution, or of such a sum.

    Nobody else reads that: a pass over memory and its allocation are saved.
    """
    fresh: set[torch.fx.Node] = set()
    for node in graph.nodes:
        own = [
            arg
            for arg in node.args
            if isinstance(arg, torch.fx.Node) and arg in fresh and len(arg.users) == 1
        ]
        if node.op == "call_module" and str(node.target).startswith("folded_"):
            fresh.add(node)
        elif not own:
            continue
        elif _is_sum(node):
            first, second = node.args if node.args[0] in own else reversed(node.args)
            node.target, node.args = _added, (first, second)
            fresh.add(node)
        elif _is_relu(node, modules):
            node.op, node.target, node.args, node.kwargs = "call_function", torch.relu_, (node.args[0],), {}


def _added(own: Tensor, other: Tensor | float) -> Tensor:
    """The sum, in the place of the first where it has that shape."""
    fits = isinstance(other, Tensor) and other.shape == own.shape and other.dtype == own.dtype
    return own.add_(other) if fits else own + other


def _is_sum(node: torch.fx.Node) -> bool:
    return (
        node.op == "call_function"
        and node.target in (operator.add, torch.add)
        and len(node.args) == 2
        and not node.kwargs
    )


def _is_relu(node: torch.fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules.get(str(node.target))) is nn.ReLU
    named = node.op == "call_method" and node.target == "relu"
    return named or (node.op == "call_function" and node.target in (torch.relu, nn.functional.relu))


def _like(convolution: nn.Conv2d, *, channels_last: bool) -> nn.Conv2d:
    both = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        convolution.dilation,  # type: ignore[arg-type]
        convolution.groups,
        bias=True,
        padding_mode=convolution.padding_mode,
        device="meta",
        dtype=convolution.weight.dtype,
    ).to_empty(device=convolution.weight.device)
    both.requires_grad_(False)
    return both.to(memory_format=torch.channels_last) if channels_last else both
