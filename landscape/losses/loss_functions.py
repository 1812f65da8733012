"""Loss functions: the forms that are accepted, their precision, and what each is the mean over."""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import InputError, UsageError
from landscape.losses.softmax_rows import SoftmaxRows
from landscape.reductions import exact, exact_dtype
from landscape.registry.factories import required_parameters

IGNORED = -100
"""The class number that torch's cross-entropy leaves out by default."""


class BatchLoss:
    """A loss for batches that are not ``(inputs, targets)``: language models, PINNs, dictionaries.

    Args:
        fn: ``fn(model, batch)`` → scalar mean over the batch's examples, or ``(mean, scores, targets)``, from which
            the accuracy is computed too.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
        weight: What the mean of a batch is divided by, and batches are therefore weighted by: its number of labels
            that count, or the sum of their class weights. By default the number of examples.
    """

    def __init__(
        self,
        fn: Callable[[nn.Module, Any], Any],
        *,
        size: Callable[[Any], int] | None = None,
        weight: Callable[[Any], float] | None = None,
    ) -> None:
        self.fn = fn
        self.size = size
        self.weight_of = weight or size


Loss = Callable[[Any, Any], Tensor] | BatchLoss


def takes_model(loss: Callable[..., Any]) -> bool:
    """Whether a loss is a function of ``(model, batch)``: its first parameter is called ``model``."""
    return not isinstance(loss, nn.Module) and required_parameters(loss)[:1] == ["model"]


_BY_LABELS = (nn.CrossEntropyLoss, nn.NLLLoss)
_SMOOTH = (*_BY_LABELS, nn.MSELoss, nn.BCEWithLogitsLoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
# Weighted means of what each example contributes by itself.
_MEANS = (
    *_SMOOTH, nn.BCELoss, nn.SoftMarginLoss, nn.MultiLabelSoftMarginLoss, nn.MultiMarginLoss, nn.MultiLabelMarginLoss,
    nn.PoissonNLLLoss,
)  # fmt: skip
_FUNCTIONS = (
    functional.cross_entropy, functional.nll_loss, functional.mse_loss, functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits, functional.l1_loss, functional.smooth_l1_loss,
    functional.huber_loss,
)  # fmt: skip

FLOAT64_ELEMENTS = 1 << 22
"""Outputs up to which a loss is differentiated in float64; the graph over those of a language model is too large."""

# What torch says of operands of different precision, or on different devices.
_FOREIGN = re.compile(r"expected scalar type|same dtype|same device|must have the same")


def in_float64(loss: Callable[[Any, Any], Tensor], outputs: Any, targets: Any) -> Tensor:
    """``loss(outputs, targets)``, computed in float64 from outputs in float32 if the loss is one of torch's or ours.

    Beside a perfect fit 1 − p is a rounding error of float32, and so are the loss and its derivatives, while the
    outputs themselves are accurate. With more than :data:`FLOAT64_ELEMENTS` outputs cross-entropy and its derivatives
    are computed a few rows at a time; where only its value can be, the derivatives are in float32. Losses of the
    user's own keep the precision of the outputs: they may combine them with tensors that are out of reach here. A
    :class:`BatchLoss` computes the outputs itself, in its own precision.

    Raises:
        InputError: The loss combines the outputs with a tensor of another precision or on another device.
    """
    if not _is_promoted(loss, outputs, targets):
        return _evaluated(loss, outputs, targets)
    promoted: Any = placed_loss(loss, outputs.device, torch.float64)
    if targets.is_floating_point():
        targets = targets.double()
    if outputs.numel() <= FLOAT64_ELEMENTS:
        value: Tensor = promoted(outputs.double(), targets)
        return value
    rule = label_weights(loss)
    assert rule is not None
    last = class_axis(loss, outputs, targets) in (-1, outputs.ndim - 1)
    if last and not targets.is_floating_point() and not torch._C._are_functorch_transforms_active():
        classes = outputs.shape[-1]
        return rule.rows(targets, classes).differentiable(outputs.reshape(-1, classes))
    single, exact = (
        loss(outputs, targets).double(),
        torch.zeros((), dtype=torch.float64, device=outputs.device),
    )
    with torch.no_grad():
        weights, rows = rule.each(targets), max(1, FLOAT64_ELEMENTS // outputs[0].numel())
        for start in range(0, len(outputs), rows):
            part = slice(start, start + rows)
            weight = weights[part].sum() / weights.sum()
            # The mean over rows of weight 0 is NaN.
            exact += torch.where(weight > 0, weight * promoted(outputs[part].double(), targets[part]), 0.0)
    return single + (exact - single).detach()  # the derivatives are those of float32


def class_axis(loss: object, outputs: Tensor, targets: Tensor) -> int:
    """The axis of the classes in the scores of cross-entropy: the second as torch has it, or the last for tokens."""
    if outputs.ndim == 3 and is_ours(loss) and targets.shape == outputs.shape[:2]:
        return -1
    return min(1, outputs.ndim - 1)


def is_ours(loss: object) -> bool:
    """Whether the class of a loss is of this room: one that a user derives may do anything."""
    return type(loss).__module__.partition(".")[0] == __name__.partition(".")[0]


def _is_promoted(loss: object, outputs: object, targets: object) -> bool:
    """Whether a loss is computed in float64 from outputs in float32."""
    function, _ = taken_apart(loss)
    # A class derived from one of torch's may compute with tensors in float32; ours do not.
    known = type(loss) in _SMOOTH or (is_ours(loss) and isinstance(loss, _SMOOTH))
    return (
        (known or any(function is other for other in _FUNCTIONS))
        and not (isinstance(loss, nn.Module) and is_hooked(loss))
        and isinstance(outputs, Tensor)
        and isinstance(targets, Tensor)
        and outputs.dtype == torch.float32
        and exact_dtype(outputs.device) == torch.float64
        and (outputs.numel() <= FLOAT64_ELEMENTS or label_weights(loss) is not None)
    )


def _evaluated(loss: Callable[[Any, Any], Tensor], outputs: Any, targets: Any) -> Tensor:
    """The loss as it is; a tensor in a closure or a global that does not go with the outputs is named."""
    try:
        return loss(outputs, targets)
    except RuntimeError as failure:
        reason = str(failure).partition("\n")[0]
        if not isinstance(outputs, Tensor) or not _FOREIGN.search(reason):
            raise
        name, dtype = getattr(loss, "__name__", type(loss).__name__), str(outputs.dtype)[6:]
        raise InputError(
            f"the loss ({name}) does not take outputs in {dtype} on {outputs.device}: {reason}; let the tensors that "
            "it refers to follow the outputs: weight.to(outputs)"
        ) from failure


def refuse_sum(loss: object) -> None:
    """Raises a :class:`UsageError` for a loss whose ``reduction`` is not the mean."""
    function, options = taken_apart(loss)
    reduction = options.get("reduction", getattr(function, "reduction", "mean"))
    if reduction not in ("mean", "batchmean"):
        raise UsageError(f"the loss has reduction='{reduction}'; the mean is needed: pass reduction='mean'")


def taken_apart(loss: object) -> tuple[object, Mapping[str, Any]]:
    """The function and the keywords of a ``functools.partial`` without positional arguments; else the loss, ``{}``."""
    if isinstance(loss, partial) and not loss.args:
        return loss.func, loss.keywords
    return loss, {}


def averages_examples(loss: object) -> bool:
    """Whether the loss is known to be a weighted mean over examples none of which depends on the others.

    A class of its own declares it by an attribute of that name, which is not inherited: a subclass may do anything.
    """
    function, options = taken_apart(loss)
    if isinstance(loss, nn.Module) and is_hooked(loss):
        return False
    # A tensor of weights of binary cross-entropy may hold one weight for each example of one batch.
    weight = options.get("weight", getattr(function, "weight", None))
    if weight is not None and label_weights(loss) is None:
        return False
    known = type(function) in _MEANS or any(function is other for other in _FUNCTIONS)
    return known or bool(vars(type(loss)).get("averages_examples", False))


def is_hooked(module: nn.Module) -> bool:
    """Whether hooks, or a ``forward`` of the instance, may change what a module returns or its derivative."""
    names = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    return "forward" in vars(module) or any(getattr(module, name) for name in names)


@dataclass(frozen=True)
class LabelWeights:
    """The rule of torch's cross-entropy: a label counts with the weight of its class, or not at all."""

    classes: Tensor | None = None
    ignored: int = IGNORED
    smoothing: float = 0.0
    by_row: bool = False  # every row counts the same, whatever the number of labels in it

    def each(self, targets: Tensor) -> Tensor:
        """The weight of every example, the sum over its labels, ``(B,)`` in the precision of sums."""
        if targets.is_floating_point():
            return targets.new_ones(len(targets), dtype=exact_dtype(targets.device))
        weights = self.every(targets)
        return weights.flatten(1).sum(1) if targets.ndim > 1 else weights

    def every(self, targets: Tensor) -> Tensor:
        """The weight of every class number, shaped like them, in the precision of sums."""
        counted = targets != self.ignored
        weights = exact(counted)
        if self.classes is not None:
            classes = exact(self.classes.detach().to(targets.device))
            weights = weights * classes[torch.where(counted, targets, 0).long()]
            # The share of the smoothing in the loss does not scale with the weight of the class: x/0 rather than 0/0.
            if self.smoothing and bool(counted.any()) and not float(weights.sum()) > 0:
                raise InputError(
                    "all labels of a batch are of classes of weight 0, and label smoothing divides by the sum of the "
                    "weights: make batches larger, or give those classes a small weight"
                )
        if self.by_row and targets.ndim > 1:
            counts = weights.flatten(1).sum(1).reshape(-1, *[1] * (targets.ndim - 1))
            weights = weights / torch.where(counts > 0, counts, 1.0)
        return weights

    def rows(self, targets: Tensor, classes: int) -> SoftmaxRows:
        """The mean over class numbers as a sum over rows of so many scores; 0 if none counts."""
        counted, picked = targets != self.ignored, self.every(targets).flatten()
        total = picked.sum()
        scale = torch.where(total > 0, 1.0 / torch.where(total > 0, total, 1.0), 0.0)
        shares = weights = None
        if self.smoothing:
            even = LabelWeights(ignored=self.ignored, by_row=self.by_row).every(targets).flatten()
            shares = even * scale * self.smoothing
            weights = (
                None if self.classes is None else exact(self.classes.detach().to(targets.device)) / classes
            )
        labels = torch.where(counted, targets, 0).long().flatten()
        return SoftmaxRows(labels, picked * scale * (1 - self.smoothing), shares, weights)

    def curvature(self, targets: Tensor, classes: int) -> Tensor:
        """The factor of ``diag(p) − p pᵀ`` in the second derivative of each label's part, not divided by the sum.

        Of class numbers, shaped like them; of probabilities ``(R, C)``, ``(R,)``.
        """
        if not targets.is_floating_point():
            total = self.every(targets).sum()
            return (self.rows(targets, classes).weights * total).view(targets.shape)
        shares = exact(targets) * (1 - self.smoothing) + self.smoothing / classes
        weights = torch.ones((), dtype=shares.dtype, device=shares.device)
        return (shares * (weights if self.classes is None else exact(self.classes.detach()))).sum(1)


def label_weights(loss: object) -> LabelWeights | None:
    """The rule by which a loss weights its labels; ``None`` if it is not made of torch's cross-entropy."""
    function, options = taken_apart(loss)
    if isinstance(loss, _BY_LABELS):
        smoothing, by_row = getattr(loss, "label_smoothing", 0.0), getattr(loss, "by_sequence", False)
        return LabelWeights(loss.weight, loss.ignore_index, smoothing, by_row)
    if function is functional.cross_entropy or function is functional.nll_loss:
        get = options.get
        return LabelWeights(get("weight"), get("ignore_index", IGNORED), get("label_smoothing", 0.0))
    return None


def placed_loss(loss: Loss, device: torch.device, dtype: torch.dtype) -> Loss:
    """The loss with its tensors on a device and its floating-point tensors in ``dtype``; a copy if that moves any.

    Tensors in the closure of a function are out of reach and stay as they are.
    """

    def put(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else value.dtype)

    def moves(values: Mapping[str, Any]) -> bool:
        return any(put(value) is not value for value in values.values())

    if isinstance(loss, partial):
        keywords = {key: put(value) for key, value in loss.keywords.items()}
        return partial(loss.func, *loss.args, **keywords) if moves(loss.keywords) else loss
    if not isinstance(loss, nn.Module):
        return loss
    tensors = {**dict(loss.named_parameters()), **dict(loss.named_buffers())}
    if not moves(tensors) and not any(moves(vars(module)) for module in loss.modules()):
        return loss
    try:
        twin = copy.deepcopy(loss).to(device=device, dtype=dtype)
    except (
        RuntimeError,
        TypeError,
    ):  # it holds what cannot be copied, such as a result of autograd or a lock
        return loss
    for module in twin.modules():  # tensors that are attributes rather than buffers
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                setattr(module, name, put(value))
    return twin
