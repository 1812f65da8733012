"""Products with the second derivative of known losses in the outputs, in closed form."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.losses.loss_functions import class_axis, is_hooked, is_ours, label_weights, taken_apart
from landscape.losses.softmax_rows import bent, chunks
from landscape.reductions import exact_dtype

Product = Callable[[Tensor], Tensor]


def curvature_product(loss: object, outputs: Tensor, targets: Tensor) -> Product | None:
    """``t ↦ (∂²ℓ/∂f²) t`` for the mean loss of a batch at its outputs; ``None`` for a loss that is not known."""
    function, options = taken_apart(loss)
    known = next((known for kind, known in _FUNCTIONS if kind is function), None)
    known = _of_module(function) if isinstance(function, nn.Module) else known
    plain = isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.is_floating_point()
    if known is None or not plain or set(options) - _OPTIONS:
        return None
    product: Product | None = known(loss, outputs.detach(), targets)
    return product


def _of_module(loss: nn.Module) -> Callable[..., Product | None] | None:
    if is_hooked(loss):
        return None
    for kind, known in _MODULES.items():
        if type(loss) is kind or (is_ours(loss) and isinstance(loss, kind)):
            return known
    return None


def _cross_entropy(loss: object, outputs: Tensor, targets: Tensor) -> Product | None:
    rule, axis = label_weights(loss), class_axis(loss, outputs, targets)
    scores = outputs.movedim(axis, -1)
    classes = scores.shape[-1]
    if rule is None or scores.ndim < 2:
        return None
    if targets.is_floating_point():
        if targets.shape != outputs.shape:
            return None
        weights = rule.curvature(targets.movedim(axis, -1).reshape(-1, classes), classes)
        weights = weights / len(weights)
    elif targets.shape == scores.shape[:-1]:
        weights = rule.rows(targets, classes).weights
    else:
        return None

    def product(tangent: Tensor) -> Tensor:
        moved = tangent.movedim(axis, -1)
        image = bent(scores.reshape(-1, classes), moved.reshape(-1, classes), weights)
        return image.view(moved.shape).movedim(-1, axis)

    return product


def _squared_error(loss: object, outputs: Tensor, targets: Tensor) -> Product | None:
    function, options = taken_apart(loss)
    if options.get("weight") is not None or not (is_ours(function) or targets.shape == outputs.shape):
        return None
    return partial(torch.mul, other=2.0 / max(1, outputs.numel()))


def _binary(loss: object, outputs: Tensor, targets: Tensor) -> Product | None:
    function, options = taken_apart(loss)
    weight = options.get("weight", getattr(function, "weight", None))
    positive = options.get("pos_weight", getattr(function, "pos_weight", None))
    if (
        weight is not None
        or positive is not None
        or not (is_ours(function) or targets.shape == outputs.shape)
    ):
        return None
    scale = 1.0 / max(1, outputs.numel())

    def product(tangent: Tensor) -> Tensor:
        wide, scores = exact_dtype(outputs.device), outputs.reshape(len(outputs), -1)
        result = torch.empty_like(scores, memory_format=torch.contiguous_format)
        moves = tangent.reshape(scores.shape)
        for rows in chunks(scores):
            f = scores[rows].to(wide)
            bend = torch.sigmoid(f) * torch.sigmoid(-f)
            result[rows] = (moves[rows].to(wide) * bend * scale).to(result.dtype)
        return result.view(outputs.shape)

    return product


_MODULES: dict[type[nn.Module], Callable[..., Product | None]] = {
    nn.CrossEntropyLoss: _cross_entropy,
    nn.MSELoss: _squared_error,
    nn.BCEWithLogitsLoss: _binary,
}
_FUNCTIONS: list[tuple[object, Callable[..., Product | None]]] = [
    (functional.cross_entropy, _cross_entropy),
    (functional.mse_loss, _squared_error),
    (functional.binary_cross_entropy_with_logits, _binary),
]
_OPTIONS = {"weight", "ignore_index", "label_smoothing", "pos_weight", "reduction"}
